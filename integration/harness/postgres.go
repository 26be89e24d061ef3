package harness

import (
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A Postgres is a cluster of PostgreSQL. It trusts whoever connects, and knows the one user postgres.
type Postgres struct {
	*Server
	URL string // of an empty database

	bin string // the folder of its programs
}

// PostgreSQL starts PostgreSQL, in the newest version that is installed, which takes about a second. It has the
// settings that it is given, such as "fsync=off", and else those it is shipped with: what is committed is synced.
//
// As it refuses to run as root, it runs as the user postgres then.
func PostgreSQL(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	bin, err := PostgresBin()
	if err != nil {
		missing(t, "%v", err)
	}
	p := &Postgres{bin: bin}
	account := unprivileged(t, "postgres")
	home := account.folder(t, "postgres")
	data := filepath.Join(home, "data")
	initdb := exec.CommandContext(t.Context(), filepath.Join(p.bin, "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	initdb.Dir, initdb.Env = home, environment(home)
	bind(initdb, account, syscall.SIGKILL)
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.Server = start(t, command{
		name: "postgres",
		args: func(addr string) []string {
			args := []string{filepath.Join(p.bin, "postgres"), "-D", data}
			for _, s := range append([]string{"listen_addresses=127.0.0.1", "port=" + port(addr), "unix_socket_directories="}, settings...) {
				args = append(args, "-c", s)
			}
			return args
		},
		ready: func(addr string) error {
			return exec.Command(filepath.Join(p.bin, "pg_isready"), "--dbname", databaseURL(addr, "postgres")).Run()
		},
		home:   home,
		user:   account,
		stop:   syscall.SIGINT,  // after SIGTERM it would wait for its clients to leave
		orphan: syscall.SIGQUIT, // after SIGKILL it would leave shared memory behind
	}, "")
	p.Storage = data
	p.URL = p.NewDatabase(t)
	return p
}

// PostgresBin is the folder with the programs of the newest version. Debian keeps them out of the PATH.
func PostgresBin() (dir string, err error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if len(dirs) > 0 {
		return slices.MaxFunc(dirs, func(a, b string) int { return majorVersion(a) - majorVersion(b) }), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("PostgreSQL is not installed: it is in Debian's package postgresql")
	}
	return filepath.Dir(initdb), nil
}

// MajorVersion is that of the PostgreSQL whose programs are in dir; 0 if the folder has another name.
func majorVersion(dir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	if err != nil {
		return 0
	}
	return n
}

// NewDatabase makes an empty database that no other test has, and returns its URL.
func (p *Postgres) NewDatabase(t testing.TB) string {
	t.Helper()
	name := fresh()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.bin, "createdb"), "--maintenance-db", databaseURL(p.Addr, "postgres"), name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("createdb: %v\n%s", err, out)
	}
	return databaseURL(p.Addr, name)
}

// Query runs SQL on the database at url with psql, and returns what it prints: a line for each row, with | between the
// columns.
func (p *Postgres) Query(t testing.TB, url, sql string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.bin, "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
		"--set", "ON_ERROR_STOP=1", "--command", sql, url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func databaseURL(addr, name string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: addr, Path: name, RawQuery: "sslmode=disable"}
	return u.String()
}

package index_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/integration/scale"
)

// TestRoundTrips counts how often the index waits for PostgreSQL, once connections are warm.
func TestRoundTrips(t *testing.T) {
	w := newWire(t, harness.SharedPostgreSQL(t).NewDatabase(t))
	db, ctx := open(t, w.url), t.Context()
	var layers []digest.Digest
	for i := range 20 {
		layers = append(layers, addBlobs(t, db, "a", fmt.Sprint("layer", i))...)
	}
	var session index.Session
	for _, tt := range []struct {
		name  string
		trips int64
		do    func(i int) error
	}{
		{"look up a blob", 1, func(int) error {
			_, err := db.Blob(ctx, "a", layers[0])
			return err
		}},
		{"add a blob", 2, func(i int) error {
			_, err := db.AddBlob(ctx, "a", blob(fmt.Sprint(i)), index.Session{})
			return err
		}},
		{"mount a blob", 3, func(i int) error {
			_, _, err := db.MountBlob(ctx, fmt.Sprint("mount", i), "a", layers[0])
			return err
		}},
		{"put a manifest with twenty layers and two tags", 3, func(i int) error {
			_, err := db.PutManifest(ctx, "a", manifest(fmt.Sprint(i), layers...), "v1", "v2")
			return err
		}},
		{"look up a manifest", 1, func(int) error {
			_, err := db.Manifest(ctx, "a", "v1")
			return err
		}},
		{"list tags", 1, func(int) error {
			_, err := db.Tags(ctx, "a", "", 10)
			return err
		}},
		{"remove a tag", 2, func(i int) error {
			_, err := db.RemoveTag(ctx, "a", fmt.Sprint("v", i+1))
			return err
		}},
		{"begin an upload", 1, func(i int) error {
			session = index.Session{ID: fmt.Sprint("s", i), Repo: "a", Algorithm: digest.SHA256, Started: time.Now()}
			return db.AddSession(ctx, session)
		}},
		{"add to an upload", 2, func(int) error {
			session.Size++
			return db.GrowSession(ctx, index.Session{ID: session.ID, Size: session.Size - 1}, fmt.Sprint(session.Size), session.Size, nil)
		}},
		{"settle a hundred entries", 1, func(int) error { return db.Settle(ctx, make([]index.Change, 100)) }},
	} {
		for i := range 2 {
			before := w.trips.Load()
			if err := tt.do(i); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if got := w.trips.Load() - before; i == 1 && got != tt.trips {
				t.Errorf("%s: got %d round trips, want %d", tt.name, got, tt.trips)
			}
		}
	}
}

// TestLostConnections breaks the connection at each answer of a transaction. It is run again, unless it was the answer
// to the commit: nobody knows then.
func TestLostConnections(t *testing.T) {
	database := harness.SharedPostgreSQL(t).NewDatabase(t)
	w := newWire(t, database)
	db, direct := open(t, w.url), open(t, database)
	const answers = 2 // see TestRoundTrips
	for n := range int64(answers) {
		b := blob(fmt.Sprint(n))
		addBlobs(t, db, "a", fmt.Sprint("opens a connection ", n))
		w.cut.Store(n)
		_, err := db.AddBlob(t.Context(), "a", b, index.Session{})
		if w.cut.Load() >= 0 {
			t.Fatalf("there were no %d answers", n)
		}
		if lost := n == answers-1; lost != errors.Is(err, index.ErrUnavailable) || !lost && err != nil {
			t.Errorf("cut after %d answers: got %v", n, err)
		}
		if _, err := direct.Blob(t.Context(), "a", b.Digest); err != nil {
			t.Errorf("cut after %d answers: %v", n, err)
		}
	}
	addBlobs(t, db, "a", "opens a connection")
	w.cut.Store(0)
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("look-up: %v", err)
	}
}

// TestTerminatedConnections has the server end all connections while they are idle, as it does when it stops.
func TestTerminatedConnections(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	url := p.NewDatabase(t)
	db, ctx := open(t, url), t.Context()
	addBlobs(t, db, "a", "x")
	for name, do := range map[string]func() error{
		"look-up":     func() error { return db.Check(ctx) },
		"transaction": func() error { _, err := db.AddBlob(ctx, "a", blob("x"), index.Session{}); return err },
		"note":        func() error { return db.AddSession(ctx, index.Session{ID: "s", Algorithm: digest.SHA256}) },
	} {
		var wg sync.WaitGroup
		for range 4 { // so that several connections are open
			wg.Go(func() { addBlobs(t, db, "a", "x") })
		}
		wg.Wait()
		p.Query(t, url, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRestart stops the server and starts it again.
func TestRestart(t *testing.T) {
	p := harness.PostgreSQL(t, "fsync=off")
	db, ctx := open(t, p.URL), t.Context()
	addBlobs(t, db, "a", "x")
	p.Stop()
	if _, err := db.Blob(ctx, "a", blob("x").Digest); !errors.Is(err, index.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("look-up: got %v, want ErrUnavailable in one line", err)
	}
	if _, err := db.AddBlob(ctx, "a", blob("y"), index.Session{}); !errors.Is(err, index.ErrUnavailable) {
		t.Errorf("transaction: got %v, want ErrUnavailable", err)
	}
	p.Start()
	addBlobs(t, db, "a", "y")
	if _, err := db.Blob(ctx, "a", blob("x").Digest); err != nil {
		t.Error(err)
	}
}

// TestServerErrors has the server refuse a push for reasons of its own.
func TestServerErrors(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	url := p.NewDatabase(t)
	db := open(t, url)
	for code, want := range map[string]error{
		"53100": syscall.ENOSPC,       // disk full
		"25006": index.ErrUnavailable, // read-only
		"53200": index.ErrUnavailable, // out of memory
		"40001": index.ErrUnavailable, // in the way of others, and again and again
	} {
		p.Query(t, url, fmt.Sprintf(`create or replace function refuse() returns trigger as
			$$ begin raise exception 'refused' using errcode = '%s'; end $$ language plpgsql;
			create or replace trigger refuse before insert on outbox execute function refuse()`, code))
		if _, err := db.AddBlob(t.Context(), "a", blob(code), index.Session{}); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", code, err, want)
		}
	}
	p.Query(t, url, "drop trigger refuse on outbox")
	if _, err := db.Blob(t.Context(), "a", blob("53100").Digest); err != index.ErrNotFound {
		t.Errorf("what was refused is there: %v", err)
	}
	addBlobs(t, db, "a", "x")
}

// Of many processes that begin on an empty database at once, one makes the schema, and one holds what is to be done.
func TestManyStart(t *testing.T) {
	url := harness.SharedPostgreSQL(t).NewDatabase(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	holders := 0
	for range 8 {
		wg.Go(func() {
			db := open(t, url)
			_, held, err := db.HoldWalk(t.Context(), index.Adoption, rand.Text(), time.Minute)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if held {
				holders++
			}
			if db.Exclusive() {
				t.Error("each takes the database for its own")
			}
		})
	}
	wg.Wait()
	if holders != 1 {
		t.Errorf("%d hold the adoption, want one", holders)
	}
}

// A database that is not ours, or not for this version, is refused and left as it is.
func TestForeignDatabases(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	latin := "latin" + filepath.Base(t.TempDir())
	p.Query(t, p.URL, "create database "+latin+" template template0 encoding 'LATIN1' locale 'C'")
	for _, tt := range []struct{ name, database, sql, want string }{
		{"repositories", "", "create table repositories (id int)", "give parfait a database, or a schema, of its own"},
		{"tags", "", "create table tags (id int)", "give parfait a database, or a schema, of its own"},
		{"migrations", "", "create table migrations (id int, migration text)", "its table migrations is another one"},
		{"other migrations", "", "create table migrations (name text); insert into migrations values ('2014_create_users')", `has "2014_create_users"`},
		{"encoding", latin, "select 1", "the database has the encoding LATIN1: make one with UTF8"},
	} {
		url := inDatabase(t, p.NewDatabase(t), tt.database)
		p.Query(t, url, tt.sql)
		before := tables(t, p, url)
		err := openError(t, url)
		if !strings.Contains(err, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, err, tt.want)
		}
		if after := tables(t, p, url); after != before {
			t.Errorf("%s: the database was altered: got %s, want %s", tt.name, after, before)
		}
	}
	url := p.NewDatabase(t)
	open(t, url)
	p.Query(t, url, "insert into migrations values ('migrations/9999_future.sql')")
	if err := openError(t, url); !strings.Contains(err, "migration migrations/9999_future.sql, which this version does not know: use a newer parfait") {
		t.Errorf("newer schema: got %s", err)
	}
}

// Tables of something else are no harm in another schema, nor those with other names in ours.
func TestSharedDatabase(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	url := p.NewDatabase(t)
	p.Query(t, url, "create table repositories (precious int); create schema parfait; create table parfait.users (name text)")
	db := open(t, url+"&search_path=parfait")
	addBlobs(t, db, "a", "x")
	if got := p.Query(t, url, "select name from parfait.repositories"); got != "a" {
		t.Errorf("got repositories %q", got)
	}
}

// inDatabase is url with another database, unless name is "".
func inDatabase(t *testing.T, database, name string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		u.Path = name
	}
	return u.String()
}

func tables(t *testing.T, p *harness.Postgres, url string) string {
	t.Helper()
	return p.Query(t, url, "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'public'")
}

// openError is the one line that opening database fails with, for which it has ten seconds.
func openError(t *testing.T, database string) string {
	t.Helper()
	start := time.Now()
	db, err := index.Open(t.Context(), index.Config{Database: database}, slog.New(slog.DiscardHandler))
	if err == nil {
		db.Close()
		t.Fatalf("%s was opened", database)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to fail", took)
	}
	if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "index_database: ") {
		t.Errorf("got %q, want one line that begins with index_database", err)
	}
	return err.Error()
}

func TestNoConnection(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	p.Query(t, p.URL, "create role locked login password 'geheim'")
	askForPasswords(t, p, "locked")
	good, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	const urlHelp = "not the URL of a PostgreSQL database"
	t.Run("at once", func(t *testing.T) { // save for the wait for the mute one
		for _, tt := range []struct{ name, url, want string }{
			{"port", "postgres://u:secret@" + closed.Addr().String() + "/x", "connection refused"},
			{"host", "postgres://u:secret@no-such-host.invalid/x", "no-such-host.invalid"},
			{"database", "postgres://postgres:secret@" + good.Host + "/nowhere?sslmode=disable", `database "nowhere" does not exist`},
			{"password", "postgres://locked:secret@" + good.Host + "/postgres?sslmode=disable", `password authentication failed for user "locked"`},
			{"no TLS", "postgres://postgres:secret@" + good.Host + "/postgres?sslmode=require", "server refused TLS connection"},
			{"mute", "postgres://u:secret@" + mute.Addr().String() + "/x", "timeout"},
			{"parameter", "postgresql://u:secret@h/x?sslmode=perhaps&password=secret", "sslmode is invalid"},
			{"slash in the password", "postgres://u:a/secret@h/x", urlHelp},
			{"slash after a number in the password", "postgres://u:1/secret@h/x", urlHelp},
			{"percent in the password", "postgres://u:%secret@h/x", urlHelp},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				if err := openError(t, tt.url); !strings.Contains(err, tt.want) || strings.Contains(err, "secret") || strings.Count(err, "dial error") > 1 {
					t.Errorf("got %s, want %q once, and no password", err, tt.want)
				}
			})
		}
	})
	cfg := index.Config{Database: p.URL, PoolSize: -1}
	if _, err := index.Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "index_pool_size") {
		t.Errorf("pool size: got %v", err)
	}
}

// askForPasswords has the cluster trust the user no more.
func askForPasswords(t *testing.T, p *harness.Postgres, user string) {
	t.Helper()
	file := filepath.Join(p.Storage, "pg_hba.conf")
	rules, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, slices.Concat([]byte("host all "+user+" all scram-sha-256\n"), rules), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Query(t, p.URL, "select pg_reload_conf()")
}

// Names are in byte order, in whatever order the database has text.
func TestOrderOfNames(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	p.Query(t, p.URL, "create database english template template0 locale_provider icu icu_locale 'en'")
	db := open(t, inDatabase(t, p.URL, "english"))
	tags := []string{"1.0", "B", "a", "a-1", "ab", "b"}
	if _, err := db.PutManifest(t.Context(), "a", manifest("{}"), tags...); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Tags(t.Context(), "a", "1.0", 3); !slices.Equal(got, tags[1:4]) || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, tags[1:4])
	}
}

// TestRebuildTidies looks for what a rebuild leaves behind. All blobs come unreferenced, and would be among the garbage for as
// long as nobody tidies up.
func TestRebuildTidies(t *testing.T) {
	p := harness.SharedPostgreSQL(t)
	database := p.NewDatabase(t)
	small := scale.Registry{Repositories: 20, Tags: 10, Garbage: 10}
	if err := small.Fill(t.Context(), open(t, database)); err != nil {
		t.Fatal(err)
	}
	got := p.Query(t, database, "select relname from pg_stat_user_tables where vacuum_count > 0 and analyze_count > 0 order by relname")
	if want := "blobs\nmanifest_refs\nmanifests\nrepositories\nrepository_blobs\ntags"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

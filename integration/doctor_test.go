package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A finding is a line of parfait doctor --json.
type finding struct{ Check, Status, Text, Fix string }

// doctor runs the command, and checks that its exit status says what its lines do.
func doctor(t *testing.T, o harness.Options, args ...string) (all []finding) {
	t.Helper()
	out, status := harness.RunParfait(t, o, append([]string{"doctor", "--json"}, args...)...)
	want := 0
	for line := range strings.Lines(out) {
		var f finding
		if strings.HasPrefix(line, "parfait: ") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Check == "" || f.Text == "" {
			t.Fatalf("%q: %v", line, err)
		}
		if f.Status == "fail" {
			want = 1
		}
		all = append(all, f)
	}
	if status != want || len(all) == 0 {
		t.Errorf("got exit status %d, want %d:\n%s", status, want, out)
	}
	return all
}

// found fails the test unless a check has come to a status, with the words in what it says.
func found(t *testing.T, all []finding, check, status, words string) {
	t.Helper()
	if !slices.ContainsFunc(all, func(f finding) bool {
		return f.Check == check && f.Status == status && strings.Contains(f.Text+": "+f.Fix, words)
	}) {
		t.Errorf("no %s of %s with %q in it:\n%q", status, check, words, all)
	}
}

// well fails the test if a check has failed.
func well(t *testing.T, all []finding) {
	t.Helper()
	for _, f := range all {
		if f.Status == "fail" {
			t.Errorf("%s: %s", f.Check, f.Text)
		}
	}
}

// at has a doctor look at an address that nothing else uses.
func at(t *testing.T, o harness.Options) harness.Options {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.Env = append(o.Env, "REGISTRY_HTTP_ADDR="+l.Addr().String())
	return o
}

// anywhere leaves the address to the harness.
func anywhere(o harness.Options) harness.Options {
	o.Env = slices.DeleteFunc(slices.Clone(o.Env), func(pair string) bool { return strings.HasPrefix(pair, "REGISTRY_HTTP_ADDR=") })
	return o
}

// TestDoctorFolder has it look at a folder before, while and after a server serves it, and after one was killed.
func TestDoctorFolder(t *testing.T) {
	o := at(t, harness.Options{Storage: filepath.Join(t.TempDir(), "store"), Env: []string{"LOGLEVEL=warn"}})
	all := doctor(t, o)
	well(t, all)
	found(t, all, "store folder", "ok", "serve makes it")
	found(t, all, "index", "ok", "serve makes it")
	if _, err := os.Stat(o.Storage); err == nil {
		t.Error("the doctor has made the folder")
	}
	if err := os.Mkdir(o.Storage, 0o755); err != nil {
		t.Fatal(err)
	}
	well(t, doctor(t, o))
	if names := files(t, o.Storage); len(names) > 0 {
		t.Errorf("the doctor has left %q", names)
	}

	s := harness.StartParfait(t, harness.Options{Storage: o.Storage, Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 1000, 2)
	crane := newProgram(t, "crane")
	crane.run("push", dir, s.Addr+"/team/app:v1")
	before := files(t, o.Storage)
	beside := harness.Options{Storage: o.Storage, Env: []string{"REGISTRY_HTTP_ADDR=" + s.Addr}}
	all = doctor(t, beside)
	well(t, all)
	found(t, all, "address", "ok", "and is ready")
	found(t, all, "index in use", "ok", "by process")
	found(t, all, "index pages", "ok", "whole")
	for _, check := range []string{"config", "store write", "store read", "store range", "store list", "store compose", "store delete", "store clock", "disk inodes", "file limit"} {
		found(t, all, check, "ok", "")
	}
	if after := files(t, o.Storage); !slices.Equal(after, before) {
		t.Errorf("the doctor has changed what is in the folder:\n%q\n%q", before, after)
	}
	crane.run("push", dir, s.Addr+"/team/app:v2") // the server still has its store
	for range 2 {
		s.Kill()
		before = files(t, o.Storage)
		well(t, doctor(t, o))
		if after := files(t, o.Storage); !slices.Equal(after, before) {
			t.Errorf("the doctor has changed what a server that was killed has left:\n%q\n%q", before, after)
		}
		s.Start()
		if got := crane.run("digest", s.Addr+"/team/app:v2"); got != digest {
			t.Errorf("got %s, want %s", got, digest)
		}
	}
	s.Stop()
	all = doctor(t, o)
	well(t, all)
	found(t, all, "index", "ok", "up to date")
	found(t, all, "index pages", "ok", "whole")
}

// files lists all that is below a folder.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDoctorFolderIll gives it folders and indexes that are of no use.
func TestDoctorFolderIll(t *testing.T) {
	t.Run("read-only", func(t *testing.T) {
		dir := smallMount(t, "1m")
		if out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		all := doctor(t, at(t, harness.Options{Storage: dir}))
		found(t, all, "store folder", "fail", "read-only file system")
		found(t, doctor(t, at(t, harness.Options{Storage: dir + "/below"})), "store folder", "fail", "read-only file system")
	})
	t.Run("full", func(t *testing.T) {
		dir := smallMount(t, "8m")
		fill(t, filepath.Join(dir, "filler"))
		all := doctor(t, at(t, harness.Options{Storage: dir}))
		found(t, all, "store", "fail", "no space left on device")
		found(t, all, "disk space", "fail", "0 MiB of 8 MiB")
		if names := files(t, dir); len(names) != 1 {
			t.Errorf("got %q, want the filler alone", names)
		}
	})
	t.Run("no inodes", func(t *testing.T) {
		dir := smallMount(t, "200m,nr_inodes=4")
		for _, name := range []string{"a", "b", "c"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		found(t, doctor(t, at(t, harness.Options{Storage: dir})), "disk inodes", "fail", "0 of 4 left")
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		found(t, doctor(t, at(t, harness.Options{Storage: file})), "store folder", "fail", "is no folder")
	})
	t.Run("somebody else's", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chown(dir, 12345, 12345); err != nil {
			harness.Missing(t, "only root gives a folder to others: %v", err)
		}
		found(t, doctor(t, at(t, harness.Options{Storage: dir})), "store folder", "warn", "belongs to user 12345")
	})
	for name, tt := range map[string]struct{ index, words string }{
		"no index":  {"this is no database, but long enough to have a header if it were one, which is a hundred bytes in all.", "not an SQLite file"},
		"no parent": {"", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.db")
			if tt.index == "" {
				path = "/etc/hostname/index.db"
			} else if err := os.WriteFile(path, []byte(tt.index), 0o600); err != nil {
				t.Fatal(err)
			}
			all := doctor(t, at(t, harness.Options{Env: []string{"INDEX_DATABASE=" + path}}))
			found(t, all, "index", "fail", tt.words)
		})
	}
	t.Run("damaged index", func(t *testing.T) {
		store := t.TempDir()
		s := harness.StartParfait(t, quiet(store))
		ggcrPush(t, reference(t, s.Addr+"/team/app:v1"), randomImage(t, 1000, 1, "application/vnd.oci.image.manifest.v1+json"))
		s.Stop()
		path := filepath.Join(store, "parfait/index.db")
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("pragma wal_checkpoint(truncate)"); err != nil {
			t.Fatal(err)
		}
		db.Close()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, info.Size()/2)
		_, _ = rand.Read(noise)
		if _, err := f.WriteAt(noise, info.Size()-int64(len(noise))); err != nil {
			t.Fatal(err)
		}
		found(t, doctor(t, at(t, harness.Options{Storage: store})), "index", "fail", "the file is damaged")
	})
}

// TestDoctorConfig gives it configurations with something wrong.
func TestDoctorConfig(t *testing.T) {
	store := t.TempDir()
	ok := "dev: {storage: local, storage_path: " + store + ", http_addr: '127.0.0.1:0'"
	for name, tt := range map[string]struct{ config, check, status, words string }{
		"unknown key":   {ok + ", storage_pth: x}", "config", "fail", "did you mean storage_path?"},
		"no flavor":     {"prod: {storage: mem}", "config", "fail", `no flavor "dev"`},
		"other flavors": {ok + "}\nprod: {storage: local, lglevel: x}", "config", "warn", "cannot be served: prod"},
		"old key":       {ok + ", bugsnag: x}", "config", "warn", "has no effect"},
		"no users file": {ok + ", auth_htpasswd_path: nowhere/users}", "users", "fail", "no such file"},
		"open to all":   {ok + "}", "users", "warn", "auth_htpasswd_path"},
		"port of root":  {ok + "}", "address", "ok", "is free"},
		"no address":    {"dev: {storage: mem, http_addr: '192.0.2.1:5000'}", "address", "fail", "of this machine"},
		"redirect":      {ok + ", storage_redirect: true}", "store sign", "warn", "storage_redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			found(t, doctor(t, harness.Options{Config: tt.config}), tt.check, tt.status, tt.words)
		})
	}
	t.Run("taken", func(t *testing.T) {
		other := httptest.NewServer(http.NotFoundHandler())
		defer other.Close()
		o := harness.Options{Env: []string{"REGISTRY_HTTP_ADDR=" + strings.TrimPrefix(other.URL, "http://")}}
		found(t, doctor(t, o), "address", "fail", "is taken")
	})
	t.Run("users", func(t *testing.T) {
		users := filepath.Join(t.TempDir(), "users")
		o := at(t, harness.Options{Env: []string{"REGISTRY_AUTH_HTPASSWD_PATH=" + users}})
		if err := os.WriteFile(users, []byte("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		found(t, doctor(t, o), "users", "fail", "stored as SHA-1")
		if out, status := harness.RunParfait(t, harness.Options{}, "htpasswd", "-b", users, "bob", "a-long-password"); status != 0 {
			t.Fatal(out)
		}
		all := doctor(t, o)
		found(t, all, "users", "ok", "has 1 who can log in")
		found(t, all, "users", "warn", "alice")
	})
	t.Run("few files", func(t *testing.T) {
		o := at(t, harness.Options{Wrap: []string{"sh", "-c", `ulimit -n 128; exec "$@"`, "sh"}})
		found(t, doctor(t, o), "file limit", "fail", "128 files open")
	})
	t.Run("text", func(t *testing.T) {
		out, status := harness.RunParfait(t, harness.Options{Config: ok + ", loglevel: loud}"}, "doctor")
		if want := `fail  config         loglevel: "loud" is none of`; status != 1 || !strings.HasPrefix(out, want) {
			t.Errorf("got status %d and %q, want %q", status, out, want)
		}
	})
}

// TestDoctorCertificate gives it certificates of several ages.
func TestDoctorCertificate(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		from, until   time.Time
		status, words string
	}{
		"good":    {now.Add(-time.Hour), now.Add(90 * 24 * time.Hour), "ok", "registry.example.com"},
		"expired": {now.Add(-48 * time.Hour), now.Add(-24 * time.Hour), "fail", "has expired on"},
		"soon":    {now.Add(-time.Hour), now.Add(5 * 24 * time.Hour), "warn", "expires on"},
		"not yet": {now.Add(24 * time.Hour), now.Add(48 * time.Hour), "fail", "not valid before"},
		"wrong":   {now.Add(-time.Hour), now.Add(90 * 24 * time.Hour), "warn", "for which the certificate is none"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := certificate(t, "registry.example.com", tt.from, tt.until)
			o := at(t, harness.Options{Env: []string{"REGISTRY_HTTP_TLS_CERTIFICATE=" + cert, "REGISTRY_HTTP_TLS_KEY=" + key}})
			if name == "wrong" {
				o.Env = append(o.Env, "REGISTRY_HTTP_HOST=https://other.example.com")
			}
			found(t, doctor(t, o), "tls", tt.status, tt.words)
		})
	}
	cert, _ := certificate(t, "a", now, now.Add(time.Hour))
	_, key := certificate(t, "a", now, now.Add(time.Hour))
	o := at(t, harness.Options{Env: []string{"REGISTRY_HTTP_TLS_CERTIFICATE=" + cert, "REGISTRY_HTTP_TLS_KEY=" + key}})
	found(t, doctor(t, o), "tls", "fail", "private key does not match")
}

// certificate makes one that signs itself.
func certificate(t *testing.T, host string, from, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("crt", "CERTIFICATE", der), write("key", "PRIVATE KEY", secret)
}

package access

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// A wicket is a password file with a count of what its checks have cost.
type wicket struct {
	*passwords
	t    *testing.T
	path string
	log  *strings.Builder // of what is Warn or worse

	mu      sync.Mutex
	checks  int // guarded by mu
	cost    int // in checks of a hash with the cost 4; guarded by mu
	running int // guarded by mu
	most    int // of running; guarded by mu
	slow    time.Duration
}

func openWicket(t *testing.T, text string) *wicket {
	t.Helper()
	w := &wicket{t: t, path: filepath.Join(t.TempDir(), "htpasswd"), log: new(strings.Builder)}
	w.write(text)
	p, err := openPasswords(w.path, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	p.compare = func(hash, password string) bool {
		w.begin(hash)
		defer w.end()
		time.Sleep(w.slow)
		return compare(hash, password)
	}
	w.passwords = p
	return w
}

func (w *wicket) begin(hash string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	w.cost += 1 << (costOf(hash) - MinCost)
	w.running++
	w.most = max(w.most, w.running)
}

func (w *wicket) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
}

// spent returns what the checks since the last call have cost.
func (w *wicket) spent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.cost = 0 }()
	return w.cost
}

// write replaces the file by one that was written to a while ago.
func (w *wicket) write(text string) {
	w.t.Helper()
	fresh := w.path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.touch(fresh, time.Now().Add(-time.Minute))
	if err := os.Rename(fresh, w.path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wicket) touch(path string, at time.Time) {
	w.t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		w.t.Fatal(err)
	}
}

// logsIn reports whether a password is right.
func (w *wicket) logsIn(user, password string) bool {
	w.t.Helper()
	_, err := w.check(w.t.Context(), user, password)
	if err != nil && !errors.Is(err, ErrCredentials) {
		w.t.Errorf("%s: %v", user, err)
	}
	if err != nil && password != "" && strings.Contains(err.Error(), password) {
		w.t.Errorf("%q tells the password", err)
	}
	return err == nil
}

func TestPasswords(t *testing.T) {
	w := openWicket(t, hashed(t, "alice", "a secret")+hashed(t, "bob", "another"))
	for _, tt := range []struct {
		user, password string
		want           bool
	}{
		{"alice", "a secret", true},
		{"alice", "another", false},
		{"bob", "another", true},
		{"bob", "", false},
		{"eve", "a secret", false},
		{"", "a secret", false},
		{"alice", strings.Repeat("a secret", 10000), false},
	} {
		for range 2 {
			if got := w.logsIn(tt.user, tt.password); got != tt.want {
				t.Errorf("%s, %.20s: got %v", tt.user, tt.password, got)
			}
		}
	}
}

// A right password is hashed once in a while, a wrong one each time.
func TestRightPasswordsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWicket(t, hashed(t, "alice", "a secret"))
		for range 1000 {
			if !w.logsIn("alice", "a secret") {
				t.Fatal("alice cannot log in")
			}
		}
		if got := w.spent(); got != 1 {
			t.Errorf("1000 logins: got %d checks, want 1", got)
		}
		for range 3 {
			w.logsIn("alice", "guessed")
		}
		if got := w.spent(); got != 3 {
			t.Errorf("3 wrong passwords: got %d checks", got)
		}
		time.Sleep(provenFor)
		w.logsIn("alice", "a secret")
		if got := w.spent(); got != 1 {
			t.Errorf("later: got %d checks, want 1", got)
		}
		// A password is not remembered for another hash, be it of the same password.
		w.write(hashed(t, "alice", "a secret"))
		time.Sleep(lookEvery)
		w.logsIn("alice", "a secret")
		if got := w.spent(); got != 1 {
			t.Errorf("another hash: got %d checks, want 1", got)
		}
	})
}

// Whoever guesses cannot tell by the time who is a user, and be it that the hashes have several costs.
func TestUnknownUsersCostTheSame(t *testing.T) {
	hash, err := HashPassword("another", MinCost+2)
	if err != nil {
		t.Fatal(err)
	}
	w := openWicket(t, hashed(t, "alice", "a secret")+"bob:"+hash+"\n")
	for _, user := range []string{"alice", "bob", "eve", "anonymous", ""} {
		if w.logsIn(user, "guessed") {
			t.Errorf("%q logs in", user)
		}
		if got := w.spent(); got != 4 {
			t.Errorf("%q: got a cost of %d, want 4", user, got)
		}
	}
	// The hash that stands for those who are not there is one that is computed in full.
	for _, cost := range []int{MinCost, MinCost + 1, 10} {
		got, err := bcrypt.Cost([]byte(dummy(cost)))
		if err != nil || got != cost {
			t.Errorf("got a cost of %d, %v, want %d", got, err, cost)
		}
	}
	if err := bcrypt.CompareHashAndPassword([]byte(dummy(MinCost)), []byte("guessed")); err != bcrypt.ErrMismatchedHashAndPassword {
		t.Errorf("got %v", err)
	}
}

// Those who ask for the same at once share a check, and few checks run at once.
func TestChecksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWicket(t, hashed(t, "alice", "a secret"))
		w.slow = time.Minute
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if !w.logsIn("alice", "a secret") {
					t.Error("alice cannot log in")
				}
			})
		}
		all.Wait()
		if got := w.spent(); got != 1 {
			t.Errorf("got %d checks, want 1", got)
		}
		for i := range 20 {
			all.Go(func() { w.logsIn("alice", strings.Repeat("x", i)) })
		}
		all.Wait()
		if got := w.spent(); got != 20 || w.most > cap(w.turns) {
			t.Errorf("got %d checks, %d at once, want 20 and at most %d", got, w.most, cap(w.turns))
		}
	})
}

// Who leaves while he waits for his turn is not checked, and those who wait with him are.
func TestLeavingWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWicket(t, hashed(t, "alice", "a secret"))
		w.slow = time.Hour
		for i := range cap(w.turns) {
			go w.check(t.Context(), "eve", strings.Repeat("x", i))
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		leaves, stays := make(chan error, 1), make(chan error, 1)
		go func() { leaves <- second(w.check(ctx, "alice", "a secret")) }()
		synctest.Wait()
		go func() { stays <- second(w.check(t.Context(), "alice", "a secret")) }()
		if err := <-leaves; !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrCredentials) {
			t.Errorf("got %v, want that the time was up", err)
		}
		if err := <-stays; err != nil {
			t.Errorf("who stayed: %v", err)
		}
		if w.checks != cap(w.turns)+1 {
			t.Errorf("got %d checks, want one beside those that were in the way", w.checks)
		}
	})
}

// The file is read again when it has changed, at most once a second.
func TestFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWicket(t, hashed(t, "alice", "a secret"))
		w.logsIn("alice", "a secret")
		w.write(hashed(t, "bob", "another"))
		if w.logsIn("bob", "another") {
			t.Error("the file was looked at twice in no time")
		}
		time.Sleep(lookEvery)
		if !w.logsIn("bob", "another") || w.logsIn("alice", "a secret") {
			t.Error("the users are not those of the new file")
		}
		if w.log.Len() > 0 {
			t.Errorf("got %s in the log", w.log)
		}
		w.write(hashed(t, "bob", "another") + "carol:{SHA}x\n")
		time.Sleep(lookEvery)
		if !w.logsIn("bob", "another") || !strings.Contains(w.log.String(), `user \"carol\": its password is stored as SHA-1`) {
			t.Errorf("got %s in the log, want carol in it", w.log)
		}
	})
}

// A file that is no use changes nothing, and is complained of once.
func TestFileBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := hashed(t, "alice", "a secret")
		w := openWicket(t, good)
		for _, tt := range []struct {
			name  string
			spoil func()
			want  string
		}{
			{"gone", func() { os.Remove(w.path) }, "no such file"},
			{"a folder", func() { os.Remove(w.path); os.Mkdir(w.path, 0o700) }, "is a directory"},
			{"other hashes", func() { os.Remove(w.path); w.write("alice:{SHA}x\n") }, "no user who can log in"},
			{"no lines of users", func() { w.write("<html>\n") }, "no user who can log in"},
		} {
			w.log.Reset()
			tt.spoil()
			for range 5 {
				time.Sleep(lookEvery)
				if !w.logsIn("alice", "a secret") {
					t.Errorf("%s: alice cannot log in", tt.name)
				}
			}
			if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, tt.want) {
				t.Errorf("%s: got %s in the log, want one line with %s", tt.name, got, tt.want)
			}
		}
		w.write(hashed(t, "alice", "changed"))
		time.Sleep(lookEvery)
		if !w.logsIn("alice", "changed") || w.logsIn("alice", "a secret") {
			t.Error("the users are not those of the good file")
		}
	})
}

// A file that is empty for a moment is being written. One that stays empty lets nobody in.
func TestFileEmpties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWicket(t, hashed(t, "alice", "a secret"))
		w.write("")
		w.touch(w.path, time.Now())
		time.Sleep(lookEvery)
		if !w.logsIn("alice", "a secret") {
			t.Error("just emptied: alice cannot log in")
		}
		time.Sleep(settling)
		if w.logsIn("alice", "a secret") || w.logsIn("eve", "a secret") {
			t.Error("emptied for good: somebody logs in")
		}
	})
}

// Two changes within one tick of the file system's clock are two changes.
func TestFileChangesTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := hashed(t, "alice", "first"), hashed(t, "alice", "other")
		w := openWicket(t, first)
		at := time.Now()
		w.touch(w.path, at)
		time.Sleep(lookEvery)
		w.logsIn("alice", "first")
		if err := os.WriteFile(w.path, []byte(second), 0o600); err != nil { // the same inode, and as long
			t.Fatal(err)
		}
		w.touch(w.path, at)
		time.Sleep(lookEvery)
		if !w.logsIn("alice", "other") {
			t.Error("the second change was overlooked")
		}
	})
}

func TestFileAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, tt := range []struct{ text, want string }{
		{"", "has no users; type: parfait htpasswd -B " + path},
		{"# nobody\n", "has no users"},
		{"alice:$apr1$x$y\n", `has no user who can log in: line 1, user "alice": its password is stored as MD5, not as bcrypt; type: parfait htpasswd -B ` + path + " alice"},
		{"a:1\nb:2\nc:3\nd:4\ne:5\n", "; and 2 more"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openPasswords(path, log)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, err := openPasswords(path+"x", log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
}

func second(_ string, err error) error { return err }

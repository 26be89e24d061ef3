package access

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A userFile is an htpasswd file that is read again when it has changed. It is looked at when somebody asks for the
// users, so nothing has to be stopped when nobody does any more.
type userFile struct {
	path  string
	log   *slog.Logger
	users atomic.Pointer[users]

	next atomic.Int64 // when it is to be looked at again, in nanoseconds since 1970
	mu   sync.Mutex
	seen fs.FileInfo // of the file that was read last, unless it may have changed since without a sign; guarded by mu
	fuss string      // the last complaint about it, so that it is logged once; guarded by mu
}

// users is what is in the file. It does not change.
type users struct {
	hashes map[string]string
	marks  map[string]string // what stands for a hash in tokens that are to end with it
	high   int               // the highest cost of hashes
	sum    [sha256.Size]byte
}

const (
	lookEvery = time.Second     // how often the file is looked at, at the most
	settling  = 2 * time.Second // for how long a file that was written to may change without a change of its time
)

// openUserFile reads the file for the first time. The error says in one line why nobody could log in.
func openUserFile(path string, log *slog.Logger) (*userFile, error) {
	f := &userFile{path: path, log: log}
	u, problems, err := f.read()
	if err != nil {
		return nil, err
	}
	if len(u.hashes) == 0 {
		return nil, f.nobody(problems)
	}
	f.set(u, problems)
	return f, nil
}

// current returns the users.
func (f *userFile) current() *users {
	now := time.Now().UnixNano()
	if next := f.next.Load(); now >= next && f.next.CompareAndSwap(next, now+int64(lookEvery)) {
		f.look()
	}
	return f.users.Load()
}

// look reads the file again if it has changed. If it cannot be read, or nobody could log in with it, everything stays
// as it was: that is a mistake, or half of a file. But a file that is empty, and stays so, is meant.
func (f *userFile) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if info, err := os.Stat(f.path); err == nil && f.seen != nil && sameState(info, f.seen) {
		return
	}
	u, problems, err := f.read()
	if err == nil && len(u.hashes) == 0 {
		switch {
		case f.seen == nil:
			return // somebody may be writing it
		case len(problems) > 0:
			err = f.nobody(problems)
		}
	}
	if err != nil {
		if err.Error() != f.fuss {
			f.log.Error("the password file is of no use: its users are still those that it had before", "err", err)
		}
		f.fuss = err.Error()
		return
	}
	f.fuss = ""
	if u.sum != f.users.Load().sum {
		f.log.Info("the password file has changed", "file", f.path, "users", len(u.hashes))
		f.set(u, problems)
	}
}

func sameState(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (f *userFile) set(u *users, problems []string) {
	f.users.Store(u)
	for _, problem := range problems {
		f.log.Warn("nobody can log in with a line of the password file", "file", f.path, "problem", problem)
	}
}

// read returns what is in the file, and what is wrong with it.
func (f *userFile) read() (*users, []string, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat() // before the rest: what is written meanwhile makes a difference to it
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, nil, err
	}
	if f.seen = info; time.Since(info.ModTime()) < settling {
		f.seen = nil
	}
	h := ParseHtpasswd(data)
	u := &users{hashes: h.hashes(), marks: make(map[string]string), sum: sha256.Sum256(data)}
	for user, hash := range u.hashes {
		u.marks[user] = mark(user, hash)
		u.high = max(u.high, costOf(hash))
	}
	return u, h.Problems(f.path), nil
}

// mark stands for the password of a user. It tells nothing of the password, nor of its hash, which nobody can guess.
func mark(user, hash string) string {
	sum := sha256.Sum256([]byte(user + "\x00" + hash))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// nobody says in one line why nobody can log in.
func (f *userFile) nobody(problems []string) error {
	if len(problems) == 0 {
		return fmt.Errorf("%s has no users; type: parfait htpasswd -B %s USER", f.path, f.path)
	}
	const most = 3
	more := ""
	if n := len(problems) - most; n > 0 {
		problems, more = problems[:most], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("%s has no user who can log in: %s%s", f.path, strings.Join(problems, "; "), more)
}

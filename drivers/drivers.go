// Package drivers defines what a storage back end has to do, and the little that is built on top of it.
//
// A [Driver] stores objects under keys. It knows nothing of digests, repositories or HTTP. Callers that can use more
// than the five verbs ask for a capability with [As], or call [Compose], [DeleteAll], [PutNew], [Stage] and [Sync],
// which fall back to the five verbs where a back end has no better way.
//
// A new back end is one folder below this one, one line in the map of cmd/parfait, and a test that hands it to
// drivertest.Run.
package drivers

import (
	"context"
	"errors"
	"hash"
	"io"
	"iter"
	"time"
)

// A Driver stores objects, immutable once committed, under slash-separated keys of [A-Za-z0-9._-]. No key is another
// one's directory, so that a file system can hold them, and none ends in ".tmp". A Driver is safe for concurrent use.
//
// Errors are of type [*Error] and wrap [io/fs.ErrNotExist] for an object that is not there, [io/fs.ErrPermission],
// [ErrRange], [io/fs.ErrInvalid] for a key that is none (see [ValidKey]), [syscall.ENOSPC] for a back end that is full,
// [ErrUnavailable] for one that does not answer, the context's error, or what the back end's own library said.
type Driver interface {
	// Open reads n bytes of the object at key from byte off on, or all the rest if n < 0. Fewer come if the object
	// ends first; off past the end is ErrRange (off at the end is not, and reads nothing). The caller closes the
	// reader; ctx governs it until then.
	Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Create starts a new object. It replaces an older one at key, atomically, when the writer is committed.
	// ctx governs the writer; once it is cancelled, Commit fails.
	Create(ctx context.Context, key string) (Writer, error)

	// Stat describes the object at key.
	Stat(ctx context.Context, key string) (Object, error)

	// List yields the objects whose keys start with prefix and sort after after, in byte order of their keys. The
	// prefix may end within a component. It pages as it goes. An error is yielded last, with a zero Object.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]

	// Delete removes the object at key, durably. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// A Writer holds an object that nobody sees before Commit. Commit may follow any number of Writes, once; the object
// is durable and visible when it returns nil. Close releases the writer and drops what was not committed, so
// `defer w.Close()` is always right.
type Writer interface {
	io.WriteCloser
	Commit() error
}

// A Summer is a Writer whose back end wants SHA-256 sums of what it stores. It takes them along with the caller's sum of
// the whole, which costs no more than that alone. SumWith, before the first Write, has each Write go to h as well. It
// reports false if there is nothing to gain: then the caller writes to h by itself.
type Summer interface {
	SumWith(h hash.Hash) bool
}

// An Object describes what is stored at a key.
type Object struct {
	Key     string
	Size    int64 // bytes
	ModTime time.Time
}

// A URLSigner hands out URLs that let their bearer GET or HEAD one object from the back end itself until ttl is over.
type URLSigner interface {
	SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error)
}

// A Composer concatenates objects on the side of the back end. One source is a copy, or a move where that is cheaper:
// sources may be gone afterwards, and the caller deletes them in any case. dst is durable when Compose returns nil.
// It says [errors.ErrUnsupported] if it cannot compose these sources.
type Composer interface {
	Compose(ctx context.Context, dst string, srcs ...string) error
}

// A BatchDeleter deletes many objects with few requests. Absent keys are no error.
type BatchDeleter interface {
	DeleteAll(ctx context.Context, keys ...string) error
}

// A ConditionalCreator creates an object only if there is none: Commit fails with [io/fs.ErrExist] if there is.
type ConditionalCreator interface {
	CreateNew(ctx context.Context, key string) (Writer, error)
}

// A Stager has a cheaper write than Create for objects whose loss in a power cut does no harm: parts of an upload
// that is not acknowledged yet, and files that can be derived from the index. Such objects are visible to everyone
// and survive a crash of the process once committed. Compose makes its result durable whatever its sources were.
type Stager interface {
	Stage(ctx context.Context, key string) (Writer, error)
	// Unstage is Delete without the durability.
	Unstage(ctx context.Context, key string) error
	// Sync makes durable all that was staged and unstaged through this driver before the call.
	Sync(ctx context.Context) error
}

// A Sweeper removes what processes that were killed have left unfinished, and nobody sees. What was modified less than
// age ago may be somebody's work, and stays. It returns how many things it has removed.
type Sweeper interface {
	Sweep(ctx context.Context, age time.Duration) (int, error)
}

// ErrLocked says that another process has a lock.
var ErrLocked = errors.New("locked by another process")

// A Locker has locks that end with the process that holds them. Lock takes the one at key, alone or with all others that
// want to share it, until it is closed; the error wraps [ErrLocked] if another process has it, and says
// [errors.ErrUnsupported] where there are no locks. There may be an object at key from then on.
type Locker interface {
	Lock(ctx context.Context, key string, shared bool) (io.Closer, error)
}

// As finds the capability T in d or in a driver that d wraps. Wrappers that may be bypassed without harm show what
// they wrap with a method Unwrap() Driver.
//
// A wrapper that has to be part of a capability, but only has it if the driver that it wraps does, has a method
// As(target any) bool instead of the capability's own: target is a *T, and As sets it and reports true if it can.
func As[T any](d Driver) (T, bool) {
	for d != nil {
		if t, ok := d.(T); ok {
			return t, true
		}
		if w, ok := d.(interface{ As(target any) bool }); ok {
			var t T
			if w.As(&t) {
				return t, true
			}
		}
		u, ok := d.(interface{ Unwrap() Driver })
		if !ok {
			break
		}
		d = u.Unwrap()
	}
	var none T
	return none, false
}

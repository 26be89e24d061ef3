package metered

import (
	"context"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// A Watcher is told of each call as it begins and as it ends. A call that makes a writer ends when that is
// committed or closed, and one that makes a reader when that is closed, or at once if it is a file. Its methods are called by many goroutines at the same time.
type Watcher interface {
	// Begin is called before a call. The context that it returns takes the place of ctx.
	Begin(ctx context.Context, op, key string) context.Context

	// End is called after it, with the context of Begin.
	End(ctx context.Context, op string, d Done)
}

// Done is what a call has come to.
type Done struct {
	BytesIn  int64 // written
	BytesOut int64 // read
	Time     time.Duration
	Err      error // the first one that was the fault of the back end
}

// Watched is New with a watcher.
func Watched(next drivers.Driver, w Watcher) *Driver {
	d := New(next)
	d.watcher = w
	return d
}

// noWatcher is for a driver that nobody watches.
type noWatcher struct{}

func (noWatcher) Begin(ctx context.Context, _, _ string) context.Context { return ctx }
func (noWatcher) End(context.Context, string, Done)                      {}

package metered

import (
	"context"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// As hands out a capability of the wrapped driver in a form that counts (see [drivers.As]). Capabilities that this
// package does not know are found by Unwrap, and not counted.
func (d *Driver) As(target any) bool {
	switch t := target.(type) {
	case *drivers.URLSigner:
		return provide(d, t)
	case *drivers.Composer:
		return provide(d, t)
	case *drivers.BatchDeleter:
		return provide(d, t)
	case *drivers.ConditionalCreator:
		return provide(d, t)
	case *drivers.Stager:
		return provide(d, t)
	}
	return false
}

// provide sets target if the driver that d wraps has the capability T.
func provide[T any](d *Driver, target *T) bool {
	if _, ok := drivers.As[T](d.next); !ok {
		return false
	}
	*target = any(capable{d}).(T)
	return true
}

// capable has every capability, and is handed out only as one that the wrapped driver has.
type capable struct{ d *Driver }

var (
	_ drivers.URLSigner          = capable{}
	_ drivers.Composer           = capable{}
	_ drivers.BatchDeleter       = capable{}
	_ drivers.ConditionalCreator = capable{}
	_ drivers.Stager             = capable{}
)

func (c capable) SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
	next, _ := drivers.As[drivers.URLSigner](c.d.next)
	start := time.Now()
	u, err := next.SignURL(ctx, method, key, ttl)
	c.d.call(OpSign, start, err)
	return u, err
}

func (c capable) Compose(ctx context.Context, dst string, srcs ...string) error {
	next, _ := drivers.As[drivers.Composer](c.d.next)
	start := time.Now()
	err := next.Compose(ctx, dst, srcs...)
	c.d.call(OpCompose, start, err)
	return err
}

func (c capable) DeleteAll(ctx context.Context, keys ...string) error {
	next, _ := drivers.As[drivers.BatchDeleter](c.d.next)
	start := time.Now()
	err := next.DeleteAll(ctx, keys...)
	c.d.call(OpDeleteAll, start, err)
	return err
}

func (c capable) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	next, _ := drivers.As[drivers.ConditionalCreator](c.d.next)
	return c.d.writer(OpCreateNew, ctx, key, next.CreateNew)
}

func (c capable) Stage(ctx context.Context, key string) (drivers.Writer, error) {
	next, _ := drivers.As[drivers.Stager](c.d.next)
	return c.d.writer(OpStage, ctx, key, next.Stage)
}

func (c capable) Unstage(ctx context.Context, key string) error {
	next, _ := drivers.As[drivers.Stager](c.d.next)
	start := time.Now()
	err := next.Unstage(ctx, key)
	c.d.call(OpUnstage, start, err)
	return err
}

func (c capable) Sync(ctx context.Context) error {
	next, _ := drivers.As[drivers.Stager](c.d.next)
	start := time.Now()
	err := next.Sync(ctx)
	c.d.call(OpSync, start, err)
	return err
}

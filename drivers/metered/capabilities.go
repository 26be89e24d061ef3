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

func (c capable) SignURL(ctx context.Context, method, key string, ttl time.Duration) (u string, err error) {
	next, _ := drivers.As[drivers.URLSigner](c.d.next)
	err = c.d.once(ctx, OpSign, key, func(ctx context.Context) (err error) {
		u, err = next.SignURL(ctx, method, key, ttl)
		return err
	})
	return u, err
}

func (c capable) Compose(ctx context.Context, dst string, srcs ...string) error {
	next, _ := drivers.As[drivers.Composer](c.d.next)
	return c.d.once(ctx, OpCompose, dst, func(ctx context.Context) error { return next.Compose(ctx, dst, srcs...) })
}

func (c capable) DeleteAll(ctx context.Context, keys ...string) error {
	next, _ := drivers.As[drivers.BatchDeleter](c.d.next)
	return c.d.once(ctx, OpDeleteAll, first(keys), func(ctx context.Context) error { return next.DeleteAll(ctx, keys...) })
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
	return c.d.once(ctx, OpUnstage, key, func(ctx context.Context) error { return next.Unstage(ctx, key) })
}

func (c capable) Sync(ctx context.Context) error {
	next, _ := drivers.As[drivers.Stager](c.d.next)
	return c.d.once(ctx, OpSync, "", func(ctx context.Context) error { return next.Sync(ctx) })
}

// first is the key that stands for many.
func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

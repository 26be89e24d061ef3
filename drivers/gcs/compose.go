package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/sync/errgroup"
)

const (
	// composeMax is how many objects the server concatenates in one request.
	composeMax = 32

	// requestsAtOnce bounds the requests of one call.
	requestsAtOnce = 8

	// cleanTimeout bounds the time that is spent on temporary objects after a call.
	cleanTimeout = 10 * time.Second

	// tempFolder is where objects are that are no result. Their keys end in .tmp, so that List passes them over.
	tempFolder = "parfait/tmp/"
)

// Compose implements [drivers.Composer]. It leaves the sources where they are.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	for _, key := range append([]string{dst}, srcs...) {
		if err := check(ctx, "compose", key); err != nil {
			return err
		}
	}
	switch len(srcs) {
	case 0:
		return failure(ctx, "compose", dst, errors.ErrUnsupported)
	case 1:
		_, err := d.object(dst).CopierFrom(d.object(srcs[0])).Run(ctx)
		return d.composed(ctx, dst, srcs, err)
	}
	run := composition{d: d}
	defer run.clean(ctx)
	level, err := run.reduce(ctx, srcs)
	if err == nil {
		err = d.concatenate(ctx, dst, level)
	}
	return d.composed(ctx, dst, srcs, err)
}

// composed returns the error of a call. It finds out which source is not there, if that is what is wrong; an emulator
// says so with status 500.
func (d *Driver) composed(ctx context.Context, dst string, srcs []string, err error) error {
	if code := status(err); code == http.StatusNotFound || code == http.StatusInternalServerError {
		g, looking := errgroup.WithContext(ctx)
		g.SetLimit(requestsAtOnce)
		for _, src := range srcs {
			g.Go(func() error {
				_, err := d.object(src).Attrs(looking)
				if err = failure(looking, "compose", src, err); errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			})
		}
		if absent := g.Wait(); absent != nil {
			return absent
		}
	}
	return failure(ctx, "compose", dst, err)
}

// concatenate makes dst of up to composeMax sources.
func (d *Driver) concatenate(ctx context.Context, dst string, srcs []string) error {
	handles := make([]*storage.ObjectHandle, len(srcs))
	for i, src := range srcs {
		handles[i] = d.object(src)
	}
	c := d.object(dst).ComposerFrom(handles...)
	c.ContentType = contentType
	_, err := c.Run(ctx)
	return err
}

// A composition is one call with its temporary objects.
type composition struct {
	d     *Driver
	temps []string // keys
}

// reduce concatenates sources into temporary objects until few enough are left.
func (c *composition) reduce(ctx context.Context, srcs []string) ([]string, error) {
	for len(srcs) > composeMax {
		var g errgroup.Group // that ends none when one fails: the server would go on with them, and clean come too early
		g.SetLimit(requestsAtOnce)
		var level []string
		for excess := len(srcs) - composeMax; excess > 0 && len(srcs) > 1; {
			n := min(composeMax, excess+1, len(srcs))
			group := srcs[:n]
			temp := tempKey()
			c.temps = append(c.temps, temp)
			g.Go(func() error { return c.d.concatenate(ctx, temp, group) })
			level, srcs = append(level, temp), srcs[n:]
			excess -= n - 1
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		srcs = append(level, srcs...)
	}
	return srcs, nil
}

// clean removes the temporary objects, though the context of the call may have ended. What it cannot remove, or what the
// server makes of a request after that has been cancelled, is left for a sweep.
func (c *composition) clean(ctx context.Context) {
	if len(c.temps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if _, err := c.d.removeTemps(ctx, c.temps); err != nil {
		c.d.log.WarnContext(ctx, "temporary objects are left for the next sweep", "driver", "gcs", "err", err)
	}
}

func tempKey() string { return tempFolder + strings.ToLower(rand.Text()) + ".tmp" }

package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

const (
	// bigSize is as long as a part has to be at least that S3 puts together with others.
	bigSize = 5 << 20
	// smallSize is of the objects that most are like: links and configurations.
	smallSize = 1 << 10

	// signedFor is how long a signed URL is good for.
	signedFor = 5 * time.Minute
	// cleanLimit bounds the removal of what was written, also when all else was broken off.
	cleanLimit = 30 * time.Second
)

// A trial is a go at all that a registry asks of a store, with objects below a prefix of its own.
type trial struct {
	report     *Report
	store      drivers.Driver
	prefix     string
	small, big []byte
}

// Store does with a store what a registry does: it writes, reads, lists, composes, signs and deletes, below a prefix that
// nobody else has, and removes all that it has written. redirect says whether clients are to be sent to the store. The
// clock of the store is compared with that of this process, too.
func Store(ctx context.Context, r *Report, store drivers.Driver, redirect bool) {
	t := &trial{report: r, store: store, prefix: "parfait/doctor." + strings.ToLower(rand.Text()) + "/"}
	t.small, t.big = make([]byte, smallSize), make([]byte, bigSize)
	_, _ = rand.Read(t.small) // never fails
	_, _ = rand.Read(t.big)
	defer t.clean(ctx)
	if !t.step(ctx, "store write", t.write) {
		return
	}
	t.step(ctx, "store read", t.read)
	t.step(ctx, "store range", t.readRange)
	t.step(ctx, "store list", t.list)
	t.step(ctx, "store compose", t.compose)
	t.sign(ctx, redirect)
	t.step(ctx, "store delete", t.delete)
}

// step reports what has become of a step, and whether it went well.
func (t *trial) step(ctx context.Context, check string, do func(context.Context) (did string, err error)) bool {
	did, err := do(ctx)
	if err != nil {
		t.report.Fail(check, "give the registry the right to do this below the prefix or folder of the store, and see that it has room", "%v", err)
		return false
	}
	t.report.OK(check, "%s", did)
	return true
}

func (t *trial) key(name string) string { return t.prefix + name }

// write puts two objects, and looks at the time that the store gives one of them.
func (t *trial) write(ctx context.Context) (string, error) {
	start := time.Now()
	if err := drivers.Put(ctx, t.store, t.key("big"), t.big); err != nil {
		return "", err
	}
	before := time.Now()
	if err := drivers.Put(ctx, t.store, t.key("small"), t.small); err != nil {
		return "", err
	}
	after := time.Now()
	object, err := t.store.Stat(ctx, t.key("small"))
	if err != nil {
		return "", err
	}
	if object.Size != smallSize {
		return "", fmt.Errorf("an object of %d bytes has %d where it was written", smallSize, object.Size)
	}
	Clock(t.report, "store clock", "the store's clock", skew(object.ModTime, before, after))
	return fmt.Sprintf("%d bytes in %v, %d bytes in %v", bigSize, round(before.Sub(start)), smallSize, round(after.Sub(before))), nil
}

func (t *trial) read(ctx context.Context) (string, error) {
	start := time.Now()
	got, err := drivers.ReadAll(ctx, t.store, t.key("big"), bigSize)
	if err == nil && !bytes.Equal(got, t.big) {
		err = errors.New("other bytes come back than were written")
	}
	return fmt.Sprintf("%d bytes in %v", bigSize, round(time.Since(start))), err
}

func (t *trial) readRange(ctx context.Context) (string, error) {
	const off, n = bigSize - 1000, 500
	r, err := t.store.Open(ctx, t.key("big"), off, n)
	if err != nil {
		return "", err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, t.big[off:off+n]) {
		err = fmt.Errorf("%d bytes were asked for, and %d others came: does something between here and the store drop the header Range?", n, len(got))
	}
	return fmt.Sprintf("%d bytes from byte %d on", n, off), err
}

func (t *trial) list(ctx context.Context) (string, error) {
	keys, err := t.keys(ctx)
	if want := []string{t.key("big"), t.key("small")}; err == nil && !slices.Equal(keys, want) {
		err = fmt.Errorf("%d objects were written, and the list has %d", len(want), len(keys))
	}
	return "what was written is listed at once", err
}

func (t *trial) keys(ctx context.Context) (keys []string, err error) {
	for object, err := range t.store.List(ctx, t.prefix, "") {
		if err != nil {
			return nil, err
		}
		keys = append(keys, object.Key)
	}
	return keys, nil
}

// compose copies a part first, because what is composed of may be gone then.
func (t *trial) compose(ctx context.Context) (string, error) {
	if err := drivers.Put(ctx, t.store, t.key("part"), t.big); err != nil {
		return "", err
	}
	if err := drivers.Put(ctx, t.store, t.key("rest"), t.small); err != nil {
		return "", err
	}
	start := time.Now()
	if err := drivers.Compose(ctx, t.store, t.key("whole"), t.key("part"), t.key("rest")); err != nil {
		return "", err
	}
	took := time.Since(start)
	got, err := drivers.ReadAll(ctx, t.store, t.key("whole"), bigSize+smallSize)
	if err == nil && !bytes.Equal(got, append(slices.Clip(t.big), t.small...)) {
		err = errors.New("other bytes come back than were put together")
	}
	return fmt.Sprintf("two parts in %v", round(took)), err
}

// sign fetches an object by a signed URL, as clients do that are sent to the store.
func (t *trial) sign(ctx context.Context, redirect bool) {
	const check = "store sign"
	signer, ok := drivers.As[drivers.URLSigner](t.store)
	address, err := "", errors.ErrUnsupported
	if ok {
		address, err = signer.SignURL(ctx, http.MethodGet, t.key("small"), signedFor)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		if redirect {
			t.report.Warn(check, "leave out storage_redirect", "the store signs no URLs, so clients are not sent to it")
			return
		}
		t.report.Skip(check, "the store signs no URLs, and nobody is sent to it")
		return
	}
	host := ""
	if err == nil {
		host, err = t.fetch(ctx, address)
	}
	switch {
	case err == nil:
		t.report.OK(check, "a signed URL of %s is good here; that clients reach it, too, only they can tell", host)
	case redirect:
		t.report.Fail(check, "leave out storage_redirect, or name the endpoint that clients reach", "clients would be sent to %s: %v", host, err)
	default:
		t.report.Warn(check, "leave storage_redirect as it is", "clients cannot be sent to %s: %v", host, err)
	}
}

// fetch gets the small object from a URL, of which it tells no more than the host.
func (t *trial) fetch(ctx context.Context, address string) (host string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the signed URL is none")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return u.Host, errors.New("the signed URL is none")
	}
	resp, err := http.DefaultClient.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return u.Host, e.Err // without the URL, which is as good as a password
	}
	if err != nil {
		return u.Host, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, smallSize+1))
	switch {
	case err != nil:
		return u.Host, err
	case resp.StatusCode != http.StatusOK:
		return u.Host, errors.New("it answers " + resp.Status)
	case !bytes.Equal(got, t.small):
		return u.Host, errors.New("it sends other bytes than were written")
	}
	return u.Host, nil
}

func (t *trial) delete(ctx context.Context) (string, error) {
	keys, err := t.keys(ctx)
	if err == nil {
		err = drivers.DeleteAll(ctx, t.store, keys...)
	}
	if err == nil {
		keys, err = t.keys(ctx)
	}
	if err == nil && len(keys) > 0 {
		err = fmt.Errorf("%s is still there", keys[0])
	}
	return "nothing is left of what was written", err
}

// clean removes what is left when a step went wrong.
func (t *trial) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	keys, err := t.keys(ctx)
	if err == nil && len(keys) > 0 {
		err = drivers.DeleteAll(ctx, t.store, keys...)
	}
	if err != nil {
		t.report.Warn("store delete", "remove it by hand", "there may be something left below %s", t.prefix)
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond / 10) }

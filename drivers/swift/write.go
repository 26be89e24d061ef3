package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, false)
}

// CreateNew implements [drivers.ConditionalCreator]. Swift looks whether there is an object before it takes the bytes,
// so two that come at once may both pass. The later one stays then; therefore Commit looks again after [settle], and
// whoever finds the other's object has lost. That holds as long as Swift stores a small object within that time.
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, true)
}

func (d *Driver) create(ctx context.Context, key string, onlyNew bool) (drivers.Writer, error) {
	if err := check(ctx, "create", key); err != nil {
		return nil, err
	}
	return parts.NewWriter(ctx, d.pool, &upload{d: d, key: key, onlyNew: onlyNew, folder: folder{d, newID()}}, parts.Options{}), nil
}

// put stores data under a name of the container, and returns its etag, which Swift has checked.
func (d *Driver) put(ctx context.Context, name string, data []byte, header map[string]string) (etag string, err error) {
	sum := md5.Sum(data)
	etag = hex.EncodeToString(sum[:])
	h := map[string]string{"Content-Type": "application/octet-stream", "Etag": etag}
	for name, value := range header {
		h[name] = value
	}
	return etag, d.client.do(ctx, request{method: http.MethodPut, object: name, header: h, body: data}, nil)
}

// idHeader is the metadata by which an object is known: the id of its folder, or what CreateNew gave it.
const idHeader = "X-Object-Meta-Parfait-Id"

// identity returns the id of the object at key, "" if it has none or is not there, and whether it is a large object. It
// asks every replica for the newest one.
func (d *Driver) identity(ctx context.Context, key string) (id string, large bool, err error) {
	r := request{method: http.MethodHead, object: d.name(key), header: map[string]string{"X-Newest": "true"}}
	err = d.client.do(ctx, r, func(resp *http.Response) error {
		resp.Body.Close()
		id, large = resp.Header.Get(idHeader), isLarge(resp.Header)
		return nil
	})
	if status(err) == http.StatusNotFound {
		return "", false, nil
	}
	return id, large, err
}

func isLarge(h http.Header) bool { return strings.EqualFold(h.Get("X-Static-Large-Object"), "true") }

// settle is how long CreateNew waits for others that may have come at the same moment.
const settle = 500 * time.Millisecond

// onlyOne finishes a CreateNew that was answered with err.
func (d *Driver) onlyOne(ctx context.Context, key, id string, err error) error {
	switch {
	case err == nil:
		timer := time.NewTimer(settle)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	case status(err) != http.StatusPreconditionFailed:
		return err
	}
	// A 412 may be about our own object, if it was stored by a request that was repeated for want of an answer.
	there, _, err := d.identity(ctx, key)
	if err == nil && there != id {
		err = fs.ErrExist
	}
	return err
}

// An upload is what a writer does with its object.
type upload struct {
	d       *Driver
	key     string
	onlyNew bool
	folder  folder

	mu       sync.Mutex
	segments []segment // mu guards segments: by number
	named    bool      // whether a manifest was asked for that names them
}

var _ parts.Sink = (*upload)(nil)

// header is what distinguishes the object.
func (u *upload) header() map[string]string {
	h := map[string]string{idHeader: u.folder.id}
	if u.onlyNew {
		h["If-None-Match"] = "*"
		h["Expect"] = "100-continue" // Swift drops the connection if it refuses an object that is on its way
	}
	return h
}

func (u *upload) Whole(ctx context.Context, p parts.Part) error {
	if !u.onlyNew {
		_, err := u.d.put(ctx, u.d.name(u.key), p.Data, nil)
		return u.commitError(ctx, err)
	}
	_, err := u.d.put(ctx, u.d.name(u.key), p.Data, u.header())
	return u.commitError(ctx, u.d.onlyOne(ctx, u.key, u.folder.id, err))
}

func (u *upload) Begin(ctx context.Context) error {
	return u.writeError(ctx, u.folder.claim(ctx, u.key))
}

func (u *upload) Part(ctx context.Context, p parts.Part) error {
	u.mu.Lock()
	for len(u.segments) <= p.N {
		u.segments = append(u.segments, segment{})
	}
	u.segments[p.N].name = u.folder.segment(p.N) // from now on it may be there
	u.mu.Unlock()
	etag, err := u.d.put(ctx, u.folder.segment(p.N), p.Data, nil)
	if err != nil {
		return u.writeError(ctx, err)
	}
	u.mu.Lock()
	u.segments[p.N].etag, u.segments[p.N].size = etag, int64(len(p.Data))
	u.mu.Unlock()
	return nil
}

func (u *upload) Complete(ctx context.Context, _ int) error {
	u.named = true
	err := u.folder.name(ctx, u.key, u.segments, u.header())
	if u.onlyNew {
		err = u.d.onlyOne(ctx, u.key, u.folder.id, err)
	}
	return u.commitError(ctx, err)
}

// Abort removes the segments, unless there may be a manifest that names them: a request that failed may have been
// carried out, or be under way. Then it is Sweep that finds out.
func (u *upload) Abort(ctx context.Context) error {
	if u.named {
		return nil
	}
	var names []string
	for _, s := range u.segments {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	err := u.d.removeAll(ctx, append(names, u.folder.owner(u.key)))
	if err != nil {
		return failure(ctx, "write", u.key, err)
	}
	return nil
}

// Failure takes errors that are not Swift's.
func (u *upload) Failure(op string, err error) error {
	return &drivers.Error{Driver: "swift", Op: op, Key: u.key, Err: err}
}

func (u *upload) writeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return failure(ctx, "write", u.key, err)
}

func (u *upload) commitError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return failure(ctx, "commit", u.key, err)
}

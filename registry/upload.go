package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A Session is an upload between its POST and its PUT. Any process over the same store and index can take its next
// request.
type Session struct {
	ID   string // a UUID
	Repo Name
	Size int64 // bytes received
}

// A Chunk is the body of a PATCH, or the one that comes with a PUT or POST.
type Chunk struct {
	Body   io.Reader
	Start  int64 // the offset of its first byte in the blob, or -1 if the client does not say
	Length int64 // bytes, or -1 if the client does not say
}

// StartUpload begins an upload (end-4a, end-4c). alg is what the digest at the end will be of; another one works, at
// the price of reading the bytes again.
func (r *Registry) StartUpload(ctx context.Context, repo Name, alg digest.Algorithm) (Session, error) {
	s := index.Session{ID: uuid.NewString(), Repo: string(repo), Algorithm: alg, Started: time.Now()}
	return session(s), r.index.AddSession(ctx, s)
}

// Upload returns the state of an upload (end-13). The error has the code BLOB_UPLOAD_UNKNOWN if there is none.
func (r *Registry) Upload(ctx context.Context, repo Name, id string) (Session, error) {
	s, err := r.index.Session(ctx, id, "")
	return session(s), sessionError(err, s, repo, id)
}

// WriteChunk adds to an upload (end-5). If the chunk does not begin where the last one ended, the error has the code
// RANGE_INVALID, the session lives on, and its state is returned. A chunk that is cut short is not added.
func (r *Registry) WriteChunk(ctx context.Context, repo Name, id string, c Chunk) (Session, error) {
	s, err := r.index.Session(ctx, id, "")
	if err := sessionError(err, s, repo, id); err != nil {
		return Session{}, err
	}
	s, err = r.receive(ctx, s, c)
	return session(s), err
}

// heldMax is how many bytes of an upload the index holds at the most. Such an upload stages nothing: its bytes go to
// their place in one piece. It is less than bufferSize.
const heldMax = 96 << 10

// receive adds c to s and returns what has become of s.
func (r *Registry) receive(ctx context.Context, s index.Session, c Chunk) (index.Session, error) {
	if c.Start >= 0 && c.Start != s.Size {
		return s, &Error{Code: RangeInvalid,
			Message: fmt.Sprintf("the chunk begins at byte %d, but upload %s goes on at byte %d", c.Start, s.ID, s.Size)}
	}
	c, err := r.bound(c, s.Size)
	if err != nil {
		return s, err
	}
	if !whole(s) || c.Length > heldMax-s.Size {
		return r.stage(ctx, s, c)
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	held := copy(buf[:], s.Data)
	n, err := fill(c.Body, buf[held:heldMax+1])
	switch {
	case err == nil:
		c.Body = io.MultiReader(bytes.NewReader(buf[held:held+n]), c.Body)
		return r.stage(ctx, s, c)
	case err != io.EOF:
		return s, bodyError(err)
	}
	if err := c.checkLength(int64(n)); err != nil || n == 0 {
		return s, err
	}
	data := bytes.Clone(buf[:held+n])
	if err := r.index.HoldBytes(ctx, s, data); err != nil {
		return s, r.overtaken(ctx, err, s)
	}
	s.Data, s.Size = data, int64(len(data))
	return s, nil
}

// whole reports whether the index holds all that s has received.
func whole(s index.Session) bool { return s.Size == int64(len(s.Data)) }

// stage adds c to s as an object of its own, with the bytes that the index has held so far. It returns what has become
// of s.
func (r *Registry) stage(ctx context.Context, s index.Session, c Chunk) (index.Session, error) {
	h, err := resume(s)
	if err != nil {
		return s, err
	}
	c = c.after(s.Data)
	start := s.Size - int64(len(s.Data))
	// Two requests may write the same chunk at once. Each has an object of its own, so that the one that loses does
	// not replace the bytes that were hashed.
	part := fmt.Sprintf("%d.%s", start, rand.Text())
	key := uploadPrefix(Name(s.Repo), s.ID) + part
	w, err := drivers.Stage(ctx, r.store, key)
	if err != nil {
		return s, err
	}
	defer w.Close()
	n, err := c.writeTo(w, h)
	if err != nil || n == 0 {
		return s, err
	}
	if err := w.Commit(); err != nil {
		return s, err
	}
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return s, err
	}
	if err := r.index.GrowSession(ctx, s, part, start+n, state); err != nil {
		return s, errors.Join(r.overtaken(ctx, err, s), drivers.Unstage(ctx, r.store, key))
	}
	s.Parts, s.Size, s.Data, s.HashState = append(s.Parts, part), start+n, nil, state
	return s, nil
}

// after returns the chunk that c is with data before it.
func (c Chunk) after(data []byte) Chunk {
	if len(data) == 0 {
		return c
	}
	if c.Length >= 0 {
		c.Length += int64(len(data))
	}
	before := bytes.NewReader(data)
	if c.Body == nil {
		c.Body = before
	} else {
		c.Body = io.MultiReader(before, c.Body)
	}
	return c
}

// writeTo is ingest with a look at the announced length.
func (c Chunk) writeTo(w io.Writer, h hash.Hash) (int64, error) {
	n, err := ingest(w, h, c.Body)
	if err == nil {
		err = c.checkLength(n)
	}
	return n, err
}

func (c Chunk) checkLength(n int64) error {
	if c.Length >= 0 && n != c.Length {
		return &Error{Code: SizeInvalid, Message: fmt.Sprintf("the body has %d bytes, but %d were announced", n, c.Length)}
	}
	return nil
}

// overtaken says in the spec's words that another request has moved the session on.
func (r *Registry) overtaken(ctx context.Context, err error, s index.Session) error {
	if !errors.Is(err, index.ErrConflict) {
		return err
	}
	if _, err := r.Upload(ctx, Name(s.Repo), s.ID); err != nil {
		return err
	}
	return &Error{Code: RangeInvalid, Message: fmt.Sprintf("another request has written to upload %s meanwhile", s.ID)}
}

// CommitUpload ends an upload (end-6): the bytes become the blob d of the repository. last may carry its last bytes,
// or all of them, which then go straight to their place. The error has the code DIGEST_INVALID if they have another
// digest; bytes that were sent before are dropped then.
func (r *Registry) CommitUpload(ctx context.Context, repo Name, id string, d digest.Digest, last Chunk) (Blob, error) {
	s, err := patiently(ctx, d, func() (index.Session, error) { return r.index.SessionParts(ctx, id, d) })
	if err := sessionError(err, s, repo, id); err != nil {
		return Blob{}, err
	}
	if whole(s) && (last.Length == 0 || last.Start < 0 || last.Start == s.Size) {
		return r.commitWhole(ctx, repo, d, s, last)
	}
	return r.commitStaged(ctx, repo, d, s, last)
}

// commitWhole ends an upload that has no parts.
func (r *Registry) commitWhole(ctx context.Context, repo Name, d digest.Digest, s index.Session, last Chunk) (Blob, error) {
	b, err := r.storeDirect(ctx, d, last.after(s.Data), s.Hold.Stored)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == DigestInvalid && s.Size > 0 {
		return Blob{}, errors.Join(err, r.dropUpload(ctx, s))
	}
	if err != nil {
		return Blob{}, err
	}
	return r.addBlob(ctx, repo, b, s)
}

// PushBlob is an upload in one request (end-4b).
func (r *Registry) PushBlob(ctx context.Context, repo Name, d digest.Digest, c Chunk) (Blob, error) {
	hold, err := r.hold(ctx, d)
	if err != nil {
		return Blob{}, err
	}
	b, err := r.storeDirect(ctx, d, c, hold.Stored)
	if err != nil {
		return Blob{}, err
	}
	return r.addBlob(ctx, repo, b, index.Session{Hold: hold})
}

// storeDirect streams a whole blob to its place, and commits it there if it has the digest d. If the store has it
// already, the bytes are only looked at.
func (r *Registry) storeDirect(ctx context.Context, d digest.Digest, c Chunk, stored bool) (Blob, error) {
	c, err := r.bound(c, 0)
	if err != nil {
		return Blob{}, err
	}
	h := d.Algorithm().Hash()
	if stored {
		n, err := c.writeTo(io.Discard, h)
		if err != nil {
			return Blob{}, err
		}
		return Blob{Digest: d, Size: n}, checkDigest(d, h)
	}
	w, err := r.store.Create(ctx, blobKey(d))
	if err != nil {
		return Blob{}, err
	}
	defer w.Close()
	n, err := c.writeTo(w, h)
	if err != nil {
		return Blob{}, err
	}
	if err := checkDigest(d, h); err != nil {
		return Blob{}, err
	}
	return Blob{Digest: d, Size: n}, w.Commit()
}

// commitStaged ends an upload that has parts.
func (r *Registry) commitStaged(ctx context.Context, repo Name, d digest.Digest, s index.Session, last Chunk) (Blob, error) {
	var err error
	if last.Length != 0 {
		if s, err = r.receive(ctx, s, last); err != nil {
			return Blob{}, err
		}
	}
	h, err := resume(s)
	if err != nil {
		return Blob{}, err
	}
	if d.Algorithm() != s.Algorithm {
		if h, err = r.rehash(ctx, d.Algorithm(), s); err != nil {
			return Blob{}, err
		}
	}
	if err := checkDigest(d, h); err != nil {
		return Blob{}, errors.Join(err, r.dropUpload(ctx, s))
	}
	if !s.Hold.Stored {
		if err := r.compose(ctx, d, s); err != nil {
			return Blob{}, err
		}
	}
	b, err := r.addBlob(ctx, repo, Blob{Digest: d, Size: s.Size}, s)
	if err != nil {
		return Blob{}, err
	}
	return b, r.dropParts(ctx, partKeys(s))
}

// compose makes the parts of s the blob d. Where an earlier try has done so and was cut off after it, the parts are
// gone, and the blob, which is only ever there whole, is there. If that is gone as well, since it was collected before the
// index knew of it, there is nothing left of the upload: the error has the code BLOB_UPLOAD_UNKNOWN.
func (r *Registry) compose(ctx context.Context, d digest.Digest, s index.Session) error {
	err := drivers.Compose(ctx, r.store, blobKey(d), partKeys(s)...)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch o, statErr := r.store.Stat(ctx, blobKey(d)); {
	case statErr == nil && o.Size == s.Size:
		return nil
	case errors.Is(statErr, fs.ErrNotExist):
		gone := &Error{Code: BlobUploadUnknown, Err: err, Message: fmt.Sprintf("upload %s was too slow, and its bytes are gone: start again", s.ID)}
		return errors.Join(gone, r.dropUpload(ctx, s))
	}
	return err
}

// addBlob commits to the index that repo has b, whose bytes are durable, and that the session s is over.
func (r *Registry) addBlob(ctx context.Context, repo Name, b Blob, s index.Session) (Blob, error) {
	changes, err := r.addStored(ctx, repo, b, s)
	if err != nil {
		return Blob{}, r.overtaken(ctx, err, s)
	}
	return b, r.outbox.show(ctx, changes)
}

// CancelUpload drops an upload and its bytes (end-14).
func (r *Registry) CancelUpload(ctx context.Context, repo Name, id string) error {
	s, err := r.index.SessionParts(ctx, id, "")
	if err := sessionError(err, s, repo, id); err != nil {
		return err
	}
	return r.dropUpload(ctx, s)
}

// dropUpload forgets a session, then its parts.
func (r *Registry) dropUpload(ctx context.Context, s index.Session) error {
	if err := r.index.RemoveSession(ctx, s); err != nil {
		return r.overtaken(ctx, err, s)
	}
	return r.dropParts(ctx, partKeys(s))
}

// dropParts removes staged objects.
func (r *Registry) dropParts(ctx context.Context, keys []string) error {
	switch len(keys) {
	case 0:
		return nil
	case 1:
		return drivers.Unstage(ctx, r.store, keys[0])
	default:
		return drivers.DeleteAll(ctx, r.store, keys...)
	}
}

// expireBatch is how many sessions expire in one go.
const expireBatch = 100

// expireUploads drops the uploads that nothing was added to for too long, with whatever lies in their places.
func (r *Registry) expireUploads(ctx context.Context) error {
	for {
		old, err := r.index.ExpiredSessions(ctx, time.Now().Add(-r.cfg().UploadTTL), expireBatch)
		if err != nil {
			return err
		}
		for _, s := range old {
			if err := r.expireUpload(ctx, s); err != nil {
				return err
			}
		}
		if len(old) < expireBatch {
			return nil
		}
	}
}

func (r *Registry) expireUpload(ctx context.Context, s index.Session) error {
	err := r.index.RemoveSession(ctx, s)
	if errors.Is(err, index.ErrConflict) {
		return nil // it lives
	}
	if err != nil {
		return err
	}
	var keys []string
	for object, err := range r.store.List(ctx, uploadPrefix(Name(s.Repo), s.ID), "") {
		if err != nil {
			return err
		}
		keys = append(keys, object.Key)
	}
	r.log.Info("upload expired", "repository", s.Repo, "session", s.ID, "bytes", s.Size)
	return drivers.DeleteAll(ctx, r.store, keys...)
}

// resume returns the hash over the bytes that s has received.
func resume(s index.Session) (hash.Hash, error) {
	h := s.Algorithm.Hash()
	if s.HashState == nil {
		return h, nil
	}
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.HashState)
}

// rehash reads the parts of s again.
func (r *Registry) rehash(ctx context.Context, alg digest.Algorithm, s index.Session) (hash.Hash, error) {
	h := alg.Hash()
	for _, key := range partKeys(s) {
		if err := r.copyTo(ctx, h, key); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (r *Registry) copyTo(ctx context.Context, w io.Writer, key string) error {
	body, err := r.store.Open(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// checkDigest returns an error with the code DIGEST_INVALID unless d is what h has come to.
func checkDigest(d digest.Digest, h hash.Hash) error {
	if got := digest.NewDigest(d.Algorithm(), h); got != d {
		return &Error{Code: DigestInvalid, Detail: map[string]string{"digest": d.String(), "content": got.String()},
			Message: fmt.Sprintf("the content has the digest %s, not %s", got, d)}
	}
	return nil
}

func partKeys(s index.Session) []string {
	keys := make([]string, len(s.Parts))
	for i, part := range s.Parts {
		keys[i] = uploadPrefix(Name(s.Repo), s.ID) + part
	}
	return keys
}

func session(s index.Session) Session {
	return Session{ID: s.ID, Repo: Name(s.Repo), Size: s.Size}
}

// sessionError says in the spec's words that a repository has no such upload.
func sessionError(err error, s index.Session, repo Name, id string) error {
	if errors.Is(err, index.ErrNotFound) || err == nil && s.Repo != string(repo) {
		return &Error{Code: BlobUploadUnknown,
			Message: fmt.Sprintf("repository %q has no upload %.40q: it is done, cancelled or expired; start again", repo, id)}
	}
	return err
}

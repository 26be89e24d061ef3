package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDrain stops the server while a push and a pull are under way that take their time.
func TestDrain(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{Env: []string{"REGISTRY_HTTP_DRAINTIMEOUT=30s"}})
	c := newRawClient(s.URL)
	defer c.close()
	r := rand.New(rand.NewPCG(1, 2))
	large, pushed := newRawBlob(r, 32<<20), newRawBlob(r, 64<<10)
	if _, err := c.pushBlob(t.Context(), "drain", postDigest, large); err != nil {
		t.Fatal(err)
	}
	push := startTrickle(t, s, c, "drain", pushed)
	pull := startPull(t, c, "drain", digest.FromBytes(large))
	a, err := c.want(t.Context(), http.StatusAccepted, "POST", "/v2/drain/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := rawUpload{repo: "drain", digest: digest.FromString("begun"), location: a.header.Get("Location")}
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, c, "/readyz", http.StatusServiceUnavailable)
	for _, tt := range []struct{ method, path string }{
		{"GET", "/v2/"},
		{"GET", "/v2/_catalog"},
		{"HEAD", "/v2/drain/blobs/" + digest.FromBytes(large).String()},
		{"POST", "/v2/drain/blobs/uploads/"},
		{"PUT", "/v2/drain/manifests/v1"},
	} {
		a, err := c.do(t.Context(), tt.method, tt.path, nil)
		if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %d, Retry-After %q, %v, want 503 and when to come again", tt.method, tt.path, a.status, a.header.Get("Retry-After"), err)
		}
	}
	if a, err := c.do(t.Context(), "GET", "/healthz", nil); err != nil || a.status != http.StatusOK {
		t.Errorf("GET /healthz: got %d, %v, want 200", a.status, err)
	}
	if err := c.finish(t.Context(), begun, strings.NewReader("begun")); err != nil {
		t.Errorf("a session from before the stop: %v", err)
	}
	push.finish()
	if err := <-push.done; err != nil {
		t.Errorf("the push: %v", err)
	}
	if n, d, err := pull.rest(); err != nil || d != digest.FromBytes(large) {
		t.Errorf("the pull: got %d bytes, %v, want %d", n, err, len(large))
	}
	endsWithin(t, s, 3*time.Second)

	s = harness.StartParfait(t, quiet(s.Storage))
	c = newRawClient(s.URL)
	defer c.close()
	if _, err := c.want(t.Context(), http.StatusOK, "GET", "/v2/drain/blobs/"+digest.FromBytes(pushed).String(), nil); err != nil {
		t.Error(err)
	}
}

// TestDrainTimeout stops the server while a push and a pull are under way that would take for ever.
func TestDrainTimeout(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{Env: []string{"REGISTRY_HTTP_DRAINTIMEOUT=1s"}})
	c := newRawClient(s.URL)
	defer c.close()
	r := rand.New(rand.NewPCG(1, 3))
	large, pushed := newRawBlob(r, 32<<20), newRawBlob(r, 64<<10)
	if _, err := c.pushBlob(t.Context(), "drain", postDigest, large); err != nil {
		t.Fatal(err)
	}
	push := startTrickle(t, s, c, "drain", pushed)
	pull := startPull(t, c, "drain", digest.FromBytes(large))
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	endsWithin(t, s, 4*time.Second)
	if err := <-push.done; err == nil {
		t.Error("the push: got 201 of a blob that was not sent")
	}
	if n, _, err := pull.rest(); err == nil {
		t.Errorf("the pull: got %d of %d bytes, and no error", n, len(large))
	}

	temps, _ := leftovers(t, s.Storage)
	t.Logf("left: %d temporary files", temps)
	s = harness.StartParfait(t, quiet(s.Storage))
	c = newRawClient(s.URL)
	defer c.close()
	if _, err := c.want(t.Context(), http.StatusNotFound, "GET", "/v2/drain/blobs/"+digest.FromBytes(pushed).String(), nil); err != nil {
		t.Error(err)
	}
	if _, err := c.pushBlob(t.Context(), "drain", postPut, pushed); err != nil {
		t.Error(err)
	}
}

// TestDrainNothing gives requests no time at all: they are cut off, but none of them is left half done.
func TestDrainNothing(t *testing.T) {
	k := newKiller(t, 2)
	for range 5 {
		o := quiet(k.store)
		o.Env = append(o.Env, "REGISTRY_HTTP_DRAINTIMEOUT=1ns")
		s := harness.StartParfait(t, o)
		k.look(s, 5)
		time.AfterFunc(200*time.Millisecond, func() {
			_ = s.Signal(syscall.SIGTERM) // if it has ended, that is found below
		})
		k.work(s)
		endsWithin(t, s, 5*time.Second)
		checkIndex(t, k.store)
		if temps, _ := leftovers(t, k.store); temps > 0 {
			t.Errorf("left: %d temporary files", temps)
		}
	}
}

// endsWithin waits for the end of the server, which has to be an orderly one.
func endsWithin(t *testing.T, s *harness.Server, limit time.Duration) {
	t.Helper()
	start := time.Now()
	select {
	case <-s.Done():
	case <-time.After(limit):
		t.Errorf("the server runs %v after what it waited for", limit)
	}
	if status := s.Stop(); status != 0 {
		t.Errorf("got exit status %d, want 0", status)
	}
	t.Logf("ended after %v", time.Since(start).Round(time.Millisecond))
}

// awaitStatus asks until the answer has a status.
func awaitStatus(t *testing.T, c *rawClient, path string, status int) {
	t.Helper()
	var last rawAnswer
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		if last, err = c.do(t.Context(), "GET", path, nil); err != nil {
			t.Fatal(err)
		}
		if last.status == status {
			return
		}
	}
	t.Fatalf("GET %s: got %d, want %d", path, last.status, status)
}

// A trickle is a push whose body comes bit by bit until finish is called.
type trickle struct {
	finish context.CancelFunc
	done   chan error // gets the outcome
}

// startTrickle begins an upload, and returns when the server has begun to write it to its store.
func startTrickle(t *testing.T, s *harness.Server, c *rawClient, repo string, content []byte) trickle {
	t.Helper()
	a, err := c.want(t.Context(), http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	up := rawUpload{repo: repo, digest: digest.FromBytes(content), location: a.header.Get("Location")}
	ctx, finish := context.WithCancel(t.Context())
	body, w := io.Pipe()
	tr := trickle{finish, make(chan error, 1)}
	go func() {
		err := c.finish(t.Context(), up, body)
		body.CloseWithError(errors.New("the request is over"))
		tr.done <- err
	}()
	if _, err := w.Write(content[:100]); err != nil {
		t.Fatal(err)
	}
	go func() {
		for sent := 100; sent < len(content); sent++ {
			select {
			case <-ctx.Done():
				_, err = w.Write(content[sent:])
				w.CloseWithError(err)
				return
			case <-time.After(10 * time.Millisecond):
			}
			if _, err := w.Write(content[sent : sent+1]); err != nil {
				return
			}
		}
	}()
	t.Cleanup(finish)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if temps, _ := leftovers(t, s.Storage); temps > 0 {
			return tr
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not begin to write")
		}
	}
}

// A slowPull is an answer whose body was read for a bit, and waits.
type slowPull struct {
	body io.ReadCloser
	read bytes.Buffer
}

func startPull(t *testing.T, c *rawClient, repo string, d digest.Digest) *slowPull {
	t.Helper()
	resp, err := c.web.Get(c.url + "/v2/" + repo + "/blobs/" + d.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	p := &slowPull{body: resp.Body}
	if _, err := io.CopyN(&p.read, p.body, 1000); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("pull: got %d, %v", resp.StatusCode, err)
	}
	return p
}

// rest reads to the end, and returns how many bytes came in all and what digest they have.
func (p *slowPull) rest() (int64, digest.Digest, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.MultiReader(&p.read, p.body))
	return n, digest.NewDigest(digest.SHA256, h), err
}

// TestAbandonedUpload leaves sessions behind, one of them in the middle of a request.
func TestAbandonedUpload(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{Env: []string{"UPLOAD_TTL=1s"}})
	c := newRawClient(s.URL)
	defer c.close()
	content := newRawBlob(rand.New(rand.NewPCG(1, 4)), 64<<10)
	var sessions []string
	for _, leave := range []func(location string) error{
		func(string) error { return nil },
		func(location string) error {
			_, err := c.want(t.Context(), http.StatusAccepted, "PATCH", location, bytes.NewReader(content))
			return err
		},
		func(location string) error {
			if _, err := c.want(t.Context(), http.StatusAccepted, "PATCH", location, bytes.NewReader(content)); err != nil {
				return err
			}
			return leaveInPatch(t, c, location, content)
		},
	} {
		a, err := c.want(t.Context(), http.StatusAccepted, "POST", "/v2/abandoned/blobs/uploads/", nil)
		if err != nil {
			t.Fatal(err)
		}
		location := a.header.Get("Location")
		if err := leave(location); err != nil {
			t.Fatal(err)
		}
		if _, err := c.want(t.Context(), http.StatusNoContent, "GET", location, nil); err != nil {
			t.Error(err)
		}
		sessions = append(sessions, strings.TrimPrefix(location, c.url))
	}
	for _, session := range sessions {
		awaitStatus(t, c, session, http.StatusNotFound)
		if a, err := c.do(t.Context(), "PUT", session+"?digest="+digest.FromBytes(content).String(), nil); err != nil ||
			!slices.Equal(a.codes(), []string{"BLOB_UPLOAD_UNKNOWN"}) {
			t.Errorf("PUT: got %d %s, %v, want BLOB_UPLOAD_UNKNOWN", a.status, a.body, err)
		}
	}
	if temps, parts := leftovers(t, s.Storage); temps+parts > 0 {
		t.Errorf("left: %d temporary files, %d parts of uploads", temps, parts)
	}
}

// leaveInPatch sends half of what it announces, waits until the server has some of it, and goes.
func leaveInPatch(t *testing.T, c *rawClient, location string, content []byte) error {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, "PATCH", location, body)
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(content))
	done := make(chan error, 1)
	go func() {
		resp, err := c.web.Do(req)
		if err == nil {
			resp.Body.Close()
			err = fmt.Errorf("half a PATCH: got %d", resp.StatusCode)
		} else {
			err = nil
		}
		done <- err
	}()
	if _, err := w.Write(content[:len(content)/2]); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	leave()
	w.Close()
	return <-done
}

package events_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// A house is a registry that tells of what its clients do.
type house struct {
	t    *testing.T
	db   *index.DB
	desk *events.Dispatcher
	url  string
	log  *logs
}

// open opens a registry on an empty store. Without a database it has one of its own.
func open(t *testing.T, cfg events.Config, database string) *house {
	t.Helper()
	h := &house{t: t, log: new(logs)}
	log := slog.New(slog.NewTextHandler(h.log, nil))
	db, err := index.Open(t.Context(), index.Config{Database: cmp.Or(database, filepath.Join(t.TempDir(), "index.db"))}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h.db = db
	if cfg.PollInterval == 0 {
		cfg.PollInterval = 50 * time.Millisecond
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	if h.desk, err = events.Open(t.Context(), cfg, db, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.desk.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	reg, err := registry.Open(t.Context(), registry.Config{}, mem.New(), db, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close(context.Background()) })
	web := httptest.NewServer(server.New(server.Config{Witness: h.desk}, reg, nil, log))
	t.Cleanup(web.Close)
	h.url = web.URL
	return h
}

// want sends a request and fails the test unless it is answered with a status. Where it is sent may begin with a slash.
func (h *house) want(status int, method, target, body string, header ...string) http.Header {
	h.t.Helper()
	got, err := h.send(method, target, body, header...)
	if err != nil {
		h.t.Fatal(err)
	}
	if got.StatusCode != status {
		h.t.Fatalf("%s %s: got %d, want %d", method, target, got.StatusCode, status)
	}
	return got.Header
}

func (h *house) send(method, target, body string, header ...string) (*http.Response, error) {
	if strings.HasPrefix(target, "/") {
		target = h.url + target
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "test/1")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// pushBlob pushes content in one request.
func (h *house) pushBlob(repo, content string) digest.Digest {
	h.t.Helper()
	d := digest.FromString(content)
	h.want(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), content)
	return d
}

// document is an image index that names nothing, each text another one.
func document(text string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":%q}}`, v1.MediaTypeImageIndex, text)
}

// tag pushes a manifest that is like no other. It may be called by any goroutine.
func (h *house) tag(repo, tag, text string) error {
	resp, err := h.send("PUT", "/v2/"+repo+"/manifests/"+tag, document(text), "Content-Type", v1.MediaTypeImageIndex)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("push of %s:%s: %s", repo, tag, resp.Status)
	}
	return err
}

// queued is how many events wait for an endpoint.
func (h *house) queued(endpoint string) int {
	h.t.Helper()
	all, err := h.db.NoticedEndpoints(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return all[endpoint].Notices
}

// empty waits until nothing is queued for an endpoint.
func (h *house) empty(endpoint string) {
	h.t.Helper()
	eventually(h.t, "nothing waits for "+endpoint, func() bool { return h.queued(endpoint) == 0 })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it does not come to be that %s", what)
		}
	}
}

// An envelope is what receivers of registry:2 read, by the names in its documentation.
type envelope struct {
	Events []struct {
		ID        string
		Timestamp time.Time
		Action    string
		Target    struct {
			MediaType, Digest, Repository, FromRepository, URL, Tag string
			Size, Length                                            int64
			References                                              []v1.Descriptor
		}
		Request struct{ ID, Addr, Host, Method, UserAgent string }
		Actor   struct{ Name string }
		Source  struct{ Addr, InstanceID string }
	}
}

// A receiver keeps what it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(r *http.Request, body []byte) int // the status; nil is 200. It may wait. guarded by mu
	bodies [][]byte                               // of what was answered with 200; guarded by mu
	header http.Header                            // of the last request; guarded by mu
}

func receive(t *testing.T, answer func(r *http.Request, body []byte) int) *receiver {
	return receiveOn(t, httptest.NewServer, answer)
}

func receiveOn(t *testing.T, start func(http.Handler) *httptest.Server, answer func(r *http.Request, body []byte) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = start(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	answer := r.answer
	r.header = req.Header
	r.mu.Unlock()
	status := http.StatusOK
	if answer != nil {
		status = answer(req, body)
	}
	if status == http.StatusOK {
		r.mu.Lock()
		r.bodies = append(r.bodies, body)
		r.mu.Unlock()
	}
	if status == http.StatusFound {
		w.Header().Set("Location", r.URL+"/elsewhere")
	}
	w.WriteHeader(status)
}

// got returns what was taken.
func (r *receiver) got() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

// envelopes reads what was taken.
func (r *receiver) envelopes(t *testing.T) []envelope {
	t.Helper()
	var all []envelope
	for _, body := range r.got() {
		var e envelope
		if err := json.Unmarshal(body, &e); err != nil || len(e.Events) != 1 {
			t.Fatalf("got %s, %v", body, err)
		}
		all = append(all, e)
	}
	return all
}

// lines says each event in a line: action, repository, and what else there is.
func (r *receiver) lines(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, e := range r.envelopes(t) {
		event := e.Events[0]
		line := []string{event.Action, event.Target.Repository}
		for _, s := range []string{event.Target.Tag, event.Target.Digest, event.Target.MediaType, event.Target.FromRepository} {
			if s != "" {
				line = append(line, s)
			}
		}
		if event.Target.Size != 0 {
			line = append(line, fmt.Sprint(event.Target.Size))
		}
		all = append(all, strings.Join(line, " "))
	}
	return all
}

// tags returns the tags that were pushed in a repository, in the order in which it was told.
func (r *receiver) tags(t *testing.T, repo string) []string {
	t.Helper()
	var tags []string
	for _, e := range r.envelopes(t) {
		if target := e.Events[0].Target; target.Repository == repo {
			tags = append(tags, target.Tag)
		}
	}
	return tags
}

// logs collects lines.
type logs struct{ logtest.Buffer }

// with returns the lines that have a text.
func (l *logs) with(text string) (lines []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

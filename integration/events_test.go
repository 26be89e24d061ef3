package integration

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// An eventHook is an endpoint, by TLS, that fails every now and then.
type eventHook struct {
	*httptest.Server
	mu   sync.Mutex
	acts map[string][]string // by repository, what was done to which tag; guarded by mu
}

func newEventHook(t *testing.T) *eventHook {
	h := &eventHook{acts: make(map[string][]string)}
	h.Server = httptest.NewTLSServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *eventHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var envelope struct {
		Events []struct {
			Action string
			Target struct{ Repository, Tag string }
		}
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &envelope)
	}
	if err != nil || rand.IntN(10) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range envelope.Events {
		h.acts[e.Target.Repository] = append(h.acts[e.Target.Repository], e.Action+" "+e.Target.Tag)
	}
}

// options has a server tell the hook, whose certificate it is made to trust.
func (h *eventHook) options(t *testing.T) harness.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.Options{Env: []string{"LOGLEVEL=warn", "SSL_CERT_FILE=" + file,
		"REGISTRY_NOTIFICATIONS_ENDPOINTS=[{name: hook, url: '" + h.URL + "', backoff: 50ms, timeout: 10s}]"}}
}

// An actor is a client that pushes and deletes tags, one after the other.
type actor struct {
	repo  string
	first string   // what its tags begin with
	n     int      // tags so far
	acked []string // what it has done and was told so, in that order
}

func (a *actor) work(t *testing.T, url string, done func() bool) {
	c := newRawClient(url)
	defer c.close()
	for !done() {
		a.n++
		tag := fmt.Sprint(a.first, a.n)
		m := newRawManifest(v1.Manifest{Annotations: map[string]string{"of": a.repo + tag}}, []byte("{}"))
		for _, act := range []string{"push", "delete"} {
			var err error
			if act == "push" {
				if _, err = c.pushBlob(t.Context(), a.repo, postDigest, []byte("{}")); err == nil {
					err = c.pushManifest(t.Context(), a.repo, tag, m)
				}
			} else {
				_, err = c.want(t.Context(), http.StatusAccepted, "DELETE", "/v2/"+a.repo+"/manifests/"+tag, nil)
			}
			if err != nil {
				break // the server was killed; whether this has come to pass, nobody knows
			}
			a.acked = append(a.acked, act+" "+tag)
			if a.n%3 != 0 {
				break
			}
		}
	}
}

// check returns an error unless the hook was told of all that was acknowledged, in its order. It may have been told more.
func (h *eventHook) check(a *actor) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := make(map[string]int)
	for i, act := range h.acts[a.repo] {
		if _, again := seen[act]; !again {
			seen[act] = i
		}
	}
	last := -1
	for _, act := range a.acked {
		at, ok := seen[act]
		if !ok {
			return fmt.Errorf("%s: nobody was told of %s", a.repo, act)
		}
		if at < last {
			return fmt.Errorf("%s: told of %s too early", a.repo, act)
		}
		last = at
	}
	return nil
}

func newActors() []*actor {
	var actors []*actor
	for i := range 6 {
		actors = append(actors, &actor{repo: fmt.Sprint("events/", i/2), first: fmt.Sprintf("%c", 'a'+i)})
	}
	return actors
}

// workUntil has the actors work until a while is over, and do is done.
func workUntil(t *testing.T, actors []*actor, url string, do func()) {
	t.Helper()
	over := make(chan struct{})
	var wg sync.WaitGroup
	for _, a := range actors {
		wg.Go(func() {
			a.work(t, url, func() bool {
				select {
				case <-over:
					return true
				default:
					return false
				}
			})
		})
	}
	time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
	do()
	close(over)
	wg.Wait()
}

// allTold waits until the hook was told of everything.
func allTold(t *testing.T, h *eventHook, actors []*actor) {
	t.Helper()
	err := eventually(time.Minute, func() error {
		var errs []error
		for _, a := range actors {
			errs = append(errs, h.check(a))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Error(err)
	}
	acked, told := 0, 0
	for _, a := range actors {
		acked += len(a.acked)
	}
	for _, acts := range h.acts {
		for _, act := range acts {
			if !strings.HasSuffix(act, " ") {
				told++
			}
		}
	}
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d acts were acknowledged, and %d events of tags were told", acked, told)
}

// TestEventsKill kills a server while clients push and delete, again and again. Whatever was acknowledged is told, at least
// once and in order.
func TestEventsKill(t *testing.T) {
	hook, actors := newEventHook(t), newActors()
	s := harness.StartParfait(t, hook.options(t))
	for range 6 {
		workUntil(t, actors, s.URL, s.Kill)
		s.Start()
	}
	allTold(t, hook, actors)
	resp, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), `parfait_events_total{endpoint="hook",outcome="delivered"}`) ||
		!strings.Contains(string(text), `parfait_events_queued{endpoint="hook"}`) {
		t.Errorf("metrics: got %s, %v", text, err)
	}
}

// TestEventsOfReplicas kills two of three servers, one after the other. Those that are left tell what these have not.
func TestEventsOfReplicas(t *testing.T) {
	hook, actors := newEventHook(t), newActors()
	o := hook.options(t)
	onPostgreSQL(harness.PostgreSQL(t, "fsync=off"))(t, &o)
	servers := startReplicas(t, o)
	balanced := harness.Balance(t, servers...)
	for _, s := range servers[:2] {
		workUntil(t, actors, balanced.URL, s.Kill)
		allTold(t, hook, actors)
	}
}

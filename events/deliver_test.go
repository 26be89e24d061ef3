package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/registry"
)

// push has clients push tags at the same time, each client to a repository of its own and to one that all share.
func push(t *testing.T, h *house, clients, tags int) {
	t.Helper()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range tags {
				text := fmt.Sprintf("%d.%d", c, i)
				for _, repo := range []string{fmt.Sprint("own/", c), "shared"} {
					if err := h.tag(repo, text, text); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// inOrder fails the test unless r was told of all that push has done: each client's pushes in their order, and the others'
// once they had their turn. An event may have been told again, as long as nothing went before it for the first time that
// comes after it.
func inOrder(t *testing.T, r *receiver, clients, tags int) {
	t.Helper()
	check := func(repo string, client int) {
		t.Helper()
		prefix, want := fmt.Sprintf("%d.", client), 0
		for _, tag := range r.tags(t, repo) {
			text, mine := strings.CutPrefix(tag, prefix)
			var i int
			if _, err := fmt.Sscan(text, &i); !mine || err != nil {
				continue
			}
			if i > want {
				t.Errorf("%s: %s%d is told before %s%d", repo, prefix, i, prefix, want)
				return
			}
			if i == want {
				want++
			}
		}
		if want != tags {
			t.Errorf("%s: %d pushes of client %d are told, want %d", repo, want, client, tags)
		}
	}
	for c := range clients {
		check(fmt.Sprint("own/", c), c)
		check("shared", c)
	}
}

// TestOrder has an endpoint fail at random, in each way there is.
func TestOrder(t *testing.T) {
	const clients, tags = 6, 25
	source := rand.NewPCG(rand.Uint64(), 1)
	var mu sync.Mutex
	r := receive(t, func(_ *http.Request, _ []byte) int {
		mu.Lock()
		defer mu.Unlock()
		switch dice := rand.New(source); dice.IntN(6) {
		case 0:
			return http.StatusServiceUnavailable
		case 1:
			panic(http.ErrAbortHandler)
		default:
			return http.StatusOK
		}
	})
	h := open(t, events.Config{Endpoints: []events.Endpoint{{Name: "hook", URL: r.URL, Threshold: 3, Backoff: 10 * time.Millisecond}}}, "")
	push(t, h, clients, tags)
	h.empty("hook")
	inOrder(t, r, clients, tags)
	if n := len(r.got()); n != 2*clients*tags {
		t.Errorf("got %d events, want each of %d once, since nothing was killed", n, 2*clients*tags)
	}
}

// TestSilentEndpoint has an endpoint that never answers. Pushes do not wait for it, nor does another endpoint.
func TestSilentEndpoint(t *testing.T) {
	const clients, tags = 4, 15
	asked := make(chan struct{}, 1000)
	silent := receive(t, func(r *http.Request, _ []byte) int {
		asked <- struct{}{}
		<-r.Context().Done()
		return http.StatusServiceUnavailable
	})
	other := receive(t, nil)
	h := open(t, events.Config{Endpoints: []events.Endpoint{
		{Name: "silent", URL: silent.URL, Timeout: time.Hour}, {Name: "other", URL: other.URL}}}, "")
	push(t, h, clients, tags)
	h.empty("other")
	inOrder(t, other, clients, tags)
	<-asked
	if got := h.queued("silent"); got != 2*clients*tags {
		t.Errorf("%d events wait for the one that does not answer, want %d", got, 2*clients*tags)
	}
	if got := len(asked) + 1; got > clients+1 {
		t.Errorf("it was asked %d times: more than once for each repository", got)
	}
}

// TestDeadEndpoint has an endpoint away for a while. It is left alone, is told of that once, and gets everything in the end.
func TestDeadEndpoint(t *testing.T) {
	const clients, tags = 3, 5
	r := receive(t, func(*http.Request, []byte) int { return http.StatusBadGateway })
	var mu sync.Mutex
	seen := make(map[events.Outcome]int)
	var waits int
	var oldest time.Duration
	h := open(t, events.Config{
		Endpoints: []events.Endpoint{{Name: "hook", URL: r.URL, Threshold: 4, Backoff: 20 * time.Millisecond}},
		Observe: func(endpoint string, what events.Outcome, n int) {
			mu.Lock()
			defer mu.Unlock()
			if endpoint == "hook" {
				seen[what] += n
			}
		},
		Waiting: func(_ string, n int, age time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			waits, oldest = n, age
		},
		TrimInterval: 20 * time.Millisecond,
	}, "")
	push(t, h, clients, tags)
	tries := func() int {
		mu.Lock()
		defer mu.Unlock()
		return seen[events.Failed]
	}
	eventually(t, "it was tried often", func() bool { return tries() > 10 })
	waiting := func() int {
		mu.Lock()
		defer mu.Unlock()
		return waits
	}
	eventually(t, "it is observed how many wait", func() bool { return waiting() == 2*clients*tags && oldest > 0 })
	began, at := time.Now(), tries()
	eventually(t, "it was tried some more", func() bool { return tries() >= at+5 })
	if took := time.Since(began); took < 4*10*time.Millisecond {
		t.Errorf("five tries in %v: want half a back-off between them at least", took)
	}
	if lines := h.log.with("takes no events"); len(lines) != 1 || !strings.Contains(lines[0], "502") || !strings.Contains(lines[0], "level=WARN") {
		t.Errorf("got %q", lines)
	}
	r.mu.Lock()
	r.answer = nil
	r.mu.Unlock()
	h.empty("hook")
	eventually(t, "it is observed that none waits", func() bool { return waiting() == 0 })
	inOrder(t, r, clients, tags)
	if lines := h.log.with("takes events again"); len(lines) != 1 {
		t.Errorf("got %q", lines)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen[events.Delivered] != 2*clients*tags || seen[events.Dropped] != 0 {
		t.Errorf("observed %v", seen)
	}
}

// TestIndigestible has an endpoint that cannot take one event, ever. Only the repository of that waits.
func TestIndigestible(t *testing.T) {
	const clients, tags = 3, 10
	r := receive(t, func(_ *http.Request, body []byte) int {
		if strings.Contains(string(body), `"tag": "bad"`) {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	h := open(t, events.Config{Endpoints: []events.Endpoint{{Name: "hook", URL: r.URL, Threshold: 3, Backoff: 10 * time.Millisecond}}}, "")
	for _, tag := range []string{"bad", "good"} {
		if err := h.tag("poisoned", tag, tag); err != nil {
			t.Fatal(err)
		}
	}
	push(t, h, clients, tags)
	eventually(t, "all others are told", func() bool { return h.queued("hook") == 2 })
	inOrder(t, r, clients, tags)
	if got := r.tags(t, "poisoned"); len(got) != 0 {
		t.Errorf("%q came before what it has to wait for", got)
	}
}

// TestRefused has answers and certificates that are not to be taken for a yes.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		start  func(http.Handler) *httptest.Server
		status int
		want   string
	}{
		{"a redirect", httptest.NewServer, http.StatusFound, "answers 302, and redirects are not followed"},
		{"a failure", httptest.NewServer, http.StatusTeapot, "answers 418"},
		{"a certificate that nobody knows", httptest.NewTLSServer, http.StatusOK, "certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := receiveOn(t, tt.start, func(r *http.Request, _ []byte) int {
				if r.URL.Path != "/hush" {
					return http.StatusOK // elsewhere
				}
				return tt.status
			})
			h := open(t, events.Config{Endpoints: []events.Endpoint{{Name: "hook", URL: strings.Replace(r.URL, "://", "://me:hush@", 1) + "/hush",
				Headers: map[string][]string{"Authorization": {"hush"}}, Threshold: 1, Backoff: 10 * time.Millisecond}}}, "")
			if err := h.tag("a", "v1", "x"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it was tried", func() bool { return len(h.log.with("takes no events")) == 1 })
			if line := h.log.with("takes no events")[0]; !strings.Contains(line, tt.want) {
				t.Errorf("got %s, want %q", line, tt.want)
			}
			if h.queued("hook") != 1 || len(r.got()) != 0 {
				t.Error("it counts as told")
			}
			if lines := h.log.with("hush"); len(lines) != 0 {
				t.Errorf("secrets are in the log: %q", lines)
			}
		})
	}
}

// TestBounds has more and older events than may wait. The oldest ones go, and somebody says so.
func TestBounds(t *testing.T) {
	away := receive(t, func(*http.Request, []byte) int { return http.StatusBadGateway })
	var mu sync.Mutex
	dropped := 0
	observe := func(_ string, what events.Outcome, n int) {
		mu.Lock()
		defer mu.Unlock()
		if what == events.Dropped {
			dropped += n
		}
	}
	endpoint := []events.Endpoint{{Name: "hook", URL: away.URL, Threshold: 1, Backoff: time.Hour}}
	t.Run("too many", func(t *testing.T) {
		h := open(t, events.Config{Endpoints: endpoint, MaxQueued: 5, TrimInterval: 20 * time.Millisecond, Observe: observe}, "")
		for i := range 12 {
			if err := h.tag("a", fmt.Sprint(i), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "five are left", func() bool { return h.queued("hook") == 5 })
		left, err := h.db.Notices(t.Context(), "hook", "a", 10)
		if err != nil || len(left) != 5 || !strings.Contains(string(left[0].Event), `"tag":"7"`) {
			t.Errorf("got %s, %v, want the last five", left[0].Event, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if lines := h.log.with("were dropped"); len(lines) == 0 || !strings.Contains(lines[0], "level=ERROR") || dropped != 7 {
			t.Errorf("got %q, and %d dropped", lines, dropped)
		}
	})
	t.Run("too old", func(t *testing.T) {
		h := open(t, events.Config{Endpoints: endpoint, MaxAge: time.Millisecond, TrimInterval: 20 * time.Millisecond}, "")
		if err := h.tag("a", "v1", "x"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is dropped", func() bool { return len(h.log.with("were dropped")) == 1 })
		if got := h.queued("hook"); got != 0 {
			t.Errorf("%d are left", got)
		}
	})
}

// What nobody is told any more is mentioned.
func TestStrays(t *testing.T) {
	r := receive(t, nil)
	h := open(t, events.Config{Endpoints: []events.Endpoint{{Name: "new", URL: r.URL}}}, "")
	err := h.db.Notify(t.Context(), []registry.Notice{{Endpoint: "former", Repo: "a", At: time.Now(), Event: []byte("{}")}})
	if err != nil {
		t.Fatal(err)
	}
	log := new(logs)
	d, err := events.Open(t.Context(), events.Config{Endpoints: []events.Endpoint{{Name: "new", URL: r.URL}}}, h.db, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(context.Background())
	if lines := log.with("endpoint=former"); len(lines) != 1 {
		t.Errorf("got %q", lines)
	}
}

// Without endpoints there is nobody who could be told.
func TestNobody(t *testing.T) {
	for _, cfg := range []events.Config{{}, {Endpoints: []events.Endpoint{{URL: "http://localhost", Disabled: true}}}} {
		if d, err := events.Open(t.Context(), cfg, nil, nil); d != nil || err != nil {
			t.Errorf("got %v, %v", d, err)
		}
	}
}

// The pulls of the last moment are queued when the dispatcher is closed.
func TestLastPulls(t *testing.T) {
	away := receive(t, func(*http.Request, []byte) int { return http.StatusBadGateway })
	h := open(t, events.Config{Endpoints: []events.Endpoint{{Name: "hook", URL: away.URL}}}, "")
	if err := h.tag("a", "v1", "x"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		h.want(200, "GET", "/v2/a/manifests/v1", "")
	}
	if err := h.desk.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := h.queued("hook"); got != 21 {
		t.Errorf("%d events wait, want 21", got)
	}
}

// TestReplicas has two processes on one database. One of them tells the endpoint, and the other one takes over from it.
func TestReplicas(t *testing.T) {
	database := harness.PostgreSQL(t, "fsync=off").NewDatabase(t)
	r := receive(t, nil)
	const clients, tags = 3, 10
	cfg := events.Config{Endpoints: []events.Endpoint{{Name: "hook", URL: r.URL}}, LeaseLife: 6 * time.Second}
	one, two := open(t, cfg, database), open(t, cfg, database)
	var wg sync.WaitGroup
	for _, h := range []*house{one, two} {
		wg.Go(func() { push(t, h, clients, tags) })
	}
	wg.Wait()
	one.empty("hook")
	// Both have pushed the same tags, and so each of these was told twice.
	if n := len(r.got()); n != 4*clients*tags {
		t.Errorf("got %d events, want each of %d once", n, 4*clients*tags)
	}
	inOrder(t, r, clients, tags)

	if err := one.desk.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := len(r.got())
	push(t, two, clients, tags)
	two.empty("hook")
	if n := len(r.got()) - before; n != 2*clients*tags {
		t.Errorf("after one has ended: got %d events, want %d", n, 2*clients*tags)
	}
}

package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// TestWith hands requests to two servers over one registry, which have different configurations and drain as one.
func TestWith(t *testing.T) {
	h := open(t, mem.New(), Config{Issue: "first"})
	other := h.server.With(Config{Issue: "second", SearchBackend: "none"}, nil)
	web := httptest.NewServer(other)
	defer web.Close()
	for url, want := range map[string]string{h.web.URL: "first", web.URL: "second"} {
		if a := h.do("GET", url+"/", nil); !strings.Contains(a.body, want) {
			t.Errorf("got %s, want %s", a.body, want)
		}
	}
	h.want(200, "GET", "/v1/search?q=x", nil)
	h.want(404, "GET", web.URL+"/v1/search?q=x", nil)

	session := h.session("app")
	body, more := io.Pipe()
	patched := make(chan int)
	go func() {
		a, err := h.try("PATCH", session, body)
		if err != nil {
			t.Error(err)
		}
		patched <- a.status
	}()
	if _, err := io.WriteString(more, "slow"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); other.InFlight() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // what was written may be on its way yet
	}
	other.Drain()
	h.want(503, "GET", "/v2/", nil)
	h.want(503, "GET", web.URL+"/v2/", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := other.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v while the first server has a request in flight", err)
	}
	more.Close()
	if status := <-patched; status != http.StatusAccepted {
		t.Errorf("got %d, want 202", status)
	}
	if err := other.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStoreOutOfHand refuses changes with 503 once the registry cannot tell whether its store is another one's.
func TestStoreOutOfHand(t *testing.T) {
	var gone atomic.Bool
	store := drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if gone.Load() && strings.HasPrefix(op.Key, "parfait/") {
			return drivertest.ErrInjected
		}
		return nil
	})
	j := new(journal)
	h := openWith(t, store, Config{}, registry.Config{LeaseLife: 400 * time.Millisecond}, j, j.logger())
	session := h.session("app")
	gone.Store(true)
	time.Sleep(500 * time.Millisecond)
	for _, request := range []string{"POST /v2/app/blobs/uploads/", "PATCH " + session, "PUT /v2/app/manifests/v1", "DELETE /v2/app/manifests/v1"} {
		method, target, _ := strings.Cut(request, " ")
		if a := h.want(503, method, target, nil); a.header.Get("Retry-After") == "" || strings.Join(a.codes(), "") != "UNAVAILABLE" {
			t.Errorf("%s: got Retry-After %q and %s", request, a.header.Get("Retry-After"), a.body)
		}
	}
	h.want(204, "GET", session, nil)
	h.want(404, "GET", "/v2/app/manifests/v1", nil)
	h.want(200, "GET", "/readyz", nil)
}

package gcs_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parfait-registry/parfait/drivers/gcs"
	"github.com/parfait-registry/parfait/integration/harness"
)

// A fault does to requests what the server behind would not.
type fault struct {
	on func(r *http.Request) bool // nil: all
	do func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

// serve is the fault as a handler.
func (f fault) serve(w http.ResponseWriter, r *http.Request) { f.do(w, r, nil) }

func (f fault) hits(r *http.Request) bool { return f.do != nil && (f.on == nil || f.on(r)) }

// A proxy stands before a server, counts and fails.
type proxy struct {
	*httptest.Server
	upstream *harness.GCS
	next     http.Handler

	mu       sync.Mutex
	fault    fault    // mu guards fault
	requests []string // mu guards requests: method and query of each
}

func newProxy(t testing.TB, s *harness.GCS) *proxy {
	t.Helper()
	upstream, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{upstream: s}
	p.next = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ModifyResponse: func(resp *http.Response) error { // uploads are to come this way, too
			if l := resp.Header.Get("Location"); l != "" {
				resp.Header.Set("Location", strings.Replace(l, s.URL, p.URL, 1))
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault := p.fault
	p.requests = append(p.requests, r.Method+" "+r.URL.RequestURI())
	p.mu.Unlock()
	if fault.hits(r) {
		fault.do(w, r, p.next)
		return
	}
	p.next.ServeHTTP(w, r)
}

// fail has requests fail from now on; none if f is empty.
func (p *proxy) fail(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.requests = f, nil
}

// count returns how many requests there were since the last call, or of fail.
func (p *proxy) count() int { return len(p.take()) }

func (p *proxy) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.requests
	p.requests = nil
	return taken
}

// through is config for a new bucket of the server behind p.
func through(t testing.TB, s *harness.GCS, p *proxy) gcs.Config {
	t.Helper()
	cfg := config(t, s)
	cfg.Endpoint = p.URL
	return cfg
}

// times lets the first n requests that f is for fail.
func times(n int, f fault) fault {
	var done atomic.Int32
	return fault{
		on: func(r *http.Request) bool { return f.hits(r) && done.Add(1) <= int32(n) },
		do: f.do,
	}
}

// answer fails with a status, as Google does.
func answer(code int, message string) fault {
	return fault{do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error": {"code": %d, "message": %q}}`, code, message)
	}}
}

// reset takes n bytes of a body, and cuts the connection.
func reset(n int64) fault {
	return fault{
		on: func(r *http.Request) bool { return r.ContentLength < 0 || r.ContentLength >= n },
		do: func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.CopyN(io.Discard, r.Body, n)
			panic(http.ErrAbortHandler)
		},
	}
}

// loseAnswer has the server do what it is asked, and cuts the connection.
func loseAnswer() fault {
	return fault{do: func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}}
}

// cutBody sends n bytes of an object, and cuts the connection.
func cutBody(n int) fault {
	return fault{
		on: func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "alt=media") },
		do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	}
}

// damage turns over the last bit of what the client sends as an object.
func damage() fault {
	return fault{
		on: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/upload/") },
		do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			body, _ := io.ReadAll(r.Body)
			if i := bytes.Index(body, []byte(damaged)); i >= 0 {
				body[i] ^= 1
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			next.ServeHTTP(w, r)
		},
	}
}

// damaged is the text that damage changes.
const damaged = "this is about to be damaged"

package harness

import (
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A Gate stands before a server and passes on what clients ask, but for what a fault is for.
type Gate struct {
	*httptest.Server
	Behind http.Handler // passes all on

	mu       sync.Mutex
	fault    Fault           // guarded by mu
	requests []*http.Request // guarded by mu
}

// A Fault does to requests what the server behind the gate would not. The zero Fault is none.
type Fault struct {
	On func(r *http.Request) bool // nil is all
	Do func(w http.ResponseWriter, r *http.Request, server http.Handler)
}

// NewGate starts a gate before the server at target. It ends with the test.
func NewGate(t testing.TB, target string) *Gate {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	to := passOn(u)
	g := &Gate{Behind: to}
	to.ModifyResponse = func(resp *http.Response) error { // what is to follow comes this way, too
		if l := resp.Header.Get("Location"); l != "" {
			resp.Header.Set("Location", strings.Replace(l, target, g.URL, 1))
		}
		return nil
	}
	to.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	f := g.fault
	g.requests = append(g.requests, r.Clone(r.Context()))
	g.mu.Unlock()
	if f.hits(r) {
		f.Do(w, r, g.Behind)
		return
	}
	g.Behind.ServeHTTP(w, r)
}

// Fail has requests fail from now on, and forgets those so far.
func (g *Gate) Fail(f Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault, g.requests = f, nil
}

// Requests returns those that have come since the last call, or of Fail, without their bodies.
func (g *Gate) Requests() []*http.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := g.requests
	g.requests = nil
	return taken
}

func (f Fault) hits(r *http.Request) bool { return f.Do != nil && (f.On == nil || f.On(r)) }

// For is f for those of its requests that match.
func (f Fault) For(match func(*http.Request) bool) Fault {
	return Fault{func(r *http.Request) bool { return f.hits(r) && match(r) }, f.Do}
}

// First is f for the first n requests that it is for.
func (f Fault) First(n int) Fault {
	var hits atomic.Int64
	return Fault{func(r *http.Request) bool { return f.hits(r) && hits.Add(1) <= int64(n) }, f.Do}
}

// Instead has answer answer in the place of the server.
func Instead(answer http.HandlerFunc) Fault {
	return Fault{Do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, r) }}
}

// Reset takes n bytes of the body of a request, or all there is, and resets the connection.
func Reset(n int64) Fault {
	return Instead(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	})
}

// LoseAnswer has the server do what it is asked, and resets the connection before the answer.
func LoseAnswer() Fault {
	return Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		server.ServeHTTP(httptest.NewRecorder(), r)
		Reset(0).Do(w, r, nil)
	}}
}

// CutBody sends n bytes of the body of the answer, and ends the connection.
func CutBody(n int) Fault {
	return Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		BeginAnswer(w, r, server, n)
		panic(http.ErrAbortHandler)
	}}
}

// BeginAnswer sends the answer of the server up to n bytes of its body.
func BeginAnswer(w http.ResponseWriter, r *http.Request, server http.Handler, n int) {
	answer := httptest.NewRecorder()
	server.ServeHTTP(answer, r)
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()[:min(n, answer.Body.Len())])
	_ = http.NewResponseController(w).Flush()
}

// ChangeBody has change alter the body of a request on its way.
func ChangeBody(change func(body []byte)) Fault {
	return Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		change(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		server.ServeHTTP(w, r)
	}}
}

package gocloud_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// A proxy stands before a server, counts what is asked of it, and fails on demand.
type proxy struct {
	*httptest.Server

	mu       sync.Mutex
	requests []string // mu guards requests: methods with what tells them apart
	fault    fault    // mu guards fault
}

// A fault answers a request instead of the server, and reports true, or lets it pass. n counts the requests since the
// fault was set, from 0 on.
type fault func(n int, w http.ResponseWriter, r *http.Request) bool

// newProxy returns a proxy before the server at target. The host stays what the client says: signatures may cover it.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	next := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // of uploads that are abandoned
	}
	p := new(proxy)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method
		if comp := r.URL.Query().Get("comp"); comp != "" {
			name += " " + comp
		}
		if r.Header.Get("x-ms-copy-source") != "" {
			name += " from"
		}
		p.mu.Lock()
		n, fault := len(p.requests), p.fault
		p.requests = append(p.requests, name)
		p.mu.Unlock()
		if fault == nil || !fault(n, w, r) {
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// set forgets the requests so far, and lets f have those that come.
func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.fault = nil, f
}

// taken returns the requests since the last call of it or of set.
func (p *proxy) taken() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.requests
	p.requests = nil
	return taken
}

// answer reads the request and answers with an error as Azure says it.
func answer(w http.ResponseWriter, r *http.Request, status int, code string) bool {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>\nin several\nlines</Message></Error>", code)
	return true
}

// reset reads n bytes of the request and resets the connection.
func reset(w http.ResponseWriter, r *http.Request, n int64) bool {
	io.CopyN(io.Discard, r.Body, n)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	return true
}

// half is the server's answer to r, cut off in the middle of the body.
func half(target string, w http.ResponseWriter, r *http.Request) bool {
	req := r.Clone(r.Context())
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	req.URL.Scheme, req.URL.Host, req.RequestURI = u.Scheme, u.Host, ""
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	io.CopyN(w, resp.Body, resp.ContentLength/2)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

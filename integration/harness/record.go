package harness

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A Recorder stands before a server, passes on what clients ask, and remembers it.
type Recorder struct {
	URL  string // http://host:port
	Addr string // host:port

	mu       sync.Mutex
	requests []Request // guarded by mu
}

// A Request is what a client asked, and what came back.
type Request struct {
	Method   string
	URL      *url.URL // path and query
	Header   http.Header
	Length   int64 // Content-Length; -1 if there was none, and a body in chunks
	Status   int
	Response http.Header
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s (%d bytes) %d", r.Method, r.URL.RequestURI(), r.Length, r.Status)
}

// Record starts a recorder before s. It ends with the test, and the requests are shown if the test failed.
func Record(t testing.TB, s *Server) *Recorder {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	rec := &Recorder{Addr: freeAddr(t)}
	rec.URL = "http://" + rec.Addr
	listener, err := net.Listen("tcp", rec.Addr)
	if err != nil {
		t.Fatal(err)
	}
	to := passOn(target)
	to.ModifyResponse = func(resp *http.Response) error {
		rec.add(resp)
		return nil
	}
	proxy := httptest.NewUnstartedServer(to)
	proxy.Listener.Close()
	proxy.Listener = listener
	proxy.Start()
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
		if t.Failed() {
			t.Logf("requests to %s:\n%s", s.command.name, rec)
		}
	})
	return rec
}

// passOn is a proxy to target. Hosts stay what clients say, so that the server points them back to the proxy, and since
// signatures may cover them.
func passOn(target *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
		},
		ErrorLog: log.New(io.Discard, "", 0), // a client that goes away is no news
	}
}

func (rec *Recorder) add(resp *http.Response) {
	out := resp.Request
	r := Request{
		Method: out.Method, URL: &url.URL{Path: out.URL.Path, RawQuery: out.URL.RawQuery}, Header: out.Header,
		Length: out.ContentLength, Status: resp.StatusCode, Response: resp.Header.Clone(),
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.requests = append(rec.requests, r)
}

// Requests returns what was asked so far, in the order of the answers.
func (rec *Recorder) Requests() []Request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]Request(nil), rec.requests...)
}

// Reset forgets what was asked so far.
func (rec *Recorder) Reset() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.requests = nil
}

func (rec *Recorder) String() string {
	var lines strings.Builder
	for _, r := range rec.Requests() {
		fmt.Fprintln(&lines, r)
	}
	return tail(lines.String(), 16<<10)
}

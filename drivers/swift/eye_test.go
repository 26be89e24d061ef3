package swift_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

// An act is what becomes of a request on its way to Swift.
type act int

const (
	pass     act = iota
	lost         // the connection is cut before Swift sees the request
	unheard      // it is cut before the client sees the answer
	half         // it is cut in the middle of the body of the answer
	busy         // 503 without a look at the request
	refused      // 400 without a look at the request
	disowned     // 400 after Swift has done what was asked for
	denied       // 403 without a look at the request
	full         // 507 without a look at the request
)

// An eye stands before Swift, sees each request, and does with it what its director says.
type eye struct {
	*httptest.Server
	swift string // URL of the real one

	mu       sync.Mutex
	director func(n int, r *http.Request) act // mu guards director, which gets the number of the request since direct, from 0
	edit     func(r *http.Request, body []byte) []byte
	n        int
	seen     []string
}

// watch starts an eye, and returns a configuration that has the driver pass by it.
func watch(t testing.TB, s *harness.Swift) (*eye, swift.Config) {
	t.Helper()
	cfg := config(t, s)
	account, _ := s.Login(t)
	u, err := url.Parse(account)
	if err != nil {
		t.Fatal(err)
	}
	e := &eye{swift: "http://" + u.Host}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	cfg.ObjectStorageURL = e.URL + u.Path
	return e, cfg
}

// direct has director decide from now on, and forgets what was seen. A nil director lets everything pass.
func (e *eye) direct(director func(n int, r *http.Request) act) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.director, e.n, e.seen = director, 0, nil
}

// requests are those seen since direct, as "METHOD name?query", without the account and the container.
func (e *eye) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seen)
}

func (e *eye) next(r *http.Request) act {
	e.mu.Lock()
	defer e.mu.Unlock()
	parts := strings.SplitN(r.URL.Path, "/", 5)
	name := strings.Join(parts[min(4, len(parts)):], "")
	if r.URL.RawQuery != "" {
		name += "?" + r.URL.Query().Encode()
	}
	e.seen = append(e.seen, r.Method+" "+name)
	n := e.n
	e.n++
	if e.director == nil {
		return pass
	}
	return e.director(n, r)
}

func (e *eye) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := e.next(r)
	switch what {
	case lost:
		panic(http.ErrAbortHandler)
	case busy:
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	case refused:
		http.Error(w, "refused", http.StatusBadRequest)
		return
	case denied:
		http.Error(w, "denied", http.StatusForbidden)
		return
	case full:
		http.Error(w, "full", http.StatusInsufficientStorage)
		return
	}
	resp, err := e.ask(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	short := err != nil
	switch what {
	case unheard:
		panic(http.ErrAbortHandler)
	case disowned:
		http.Error(w, "disowned", http.StatusBadRequest)
		return
	case half:
		body, short = body[:len(body)/2], true
	}
	e.mu.Lock()
	edit := e.edit
	e.mu.Unlock()
	if edit != nil && !short && r.Method != http.MethodHead {
		body = edit(r, body)
		resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body) // of what is not received, the client tells
	if short {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// ask sends r to Swift.
func (e *eye) ask(r *http.Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, e.swift+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	req.Header, req.ContentLength = r.Header.Clone(), r.ContentLength
	if r.ContentLength == 0 {
		req.Body = http.NoBody
	}
	return http.DefaultTransport.RoundTrip(req)
}

// raw does a request to the container of cfg itself, and returns header and body of the answer.
func raw(t testing.TB, s *harness.Swift, method, name string, header http.Header, body string) (http.Header, string) {
	t.Helper()
	account, auth := s.Login(t)
	req, err := http.NewRequestWithContext(t.Context(), method, account+"/"+name, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	for name, values := range auth {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode > 299 {
		t.Fatalf("%s %s: %s", method, name, resp.Status)
	}
	return resp.Header, string(data)
}

// names are those of all objects in a container.
func names(t testing.TB, s *harness.Swift, container string) []string {
	t.Helper()
	_, list := raw(t, s, http.MethodGet, container, nil, "")
	return strings.Fields(list)
}

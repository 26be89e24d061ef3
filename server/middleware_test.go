package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

// A journal is a log that a test reads.
type journal struct{ logtest.Buffer }

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// lines returns the lines with a message so far, at least n of them.
func (j *journal) lines(t *testing.T, message string, n int) []map[string]any {
	t.Helper()
	var got []map[string]any
	for range 200 { // a line is written after its answer
		got = nil
		for line := range strings.Lines(j.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("log line %q: %v", line, err)
			}
			if m["msg"] == message {
				got = append(got, m)
			}
		}
		if len(got) >= n {
			return got
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("got %d log lines %q, want %d", len(got), message, n)
	return nil
}

// with returns a server that answers everything with h.
func with(j *journal, h handler) *Server {
	s := New(Config{}, nil, nil, j.logger())
	for _, e := range s.router.named {
		for i := range e.routes {
			e.routes[i].handler = h
		}
	}
	for _, e := range s.router.literal {
		for i := range e.routes {
			e.routes[i].handler = h
		}
	}
	return s
}

func TestErrors(t *testing.T) {
	blob := &registry.Error{Code: registry.BlobUnknown, Message: "blob x is unknown", Detail: map[string]string{"digest": "x"}}
	for _, tt := range []struct {
		name   string
		err    error
		status int
		body   string
		logged bool // at Error
	}{
		{"of the registry", blob, 404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob x is unknown","detail":{"digest":"x"}}]}`, false},
		{"wrapped", fmt.Errorf("get: %w", blob), 404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob x is unknown","detail":{"digest":"x"}}]}`, false},
		{"several", registry.Errors{{Code: registry.ManifestBlobUnknown, Message: "a"}, {Code: registry.BlobUnknown, Message: "b"}}, 400,
			`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"a"},{"code":"BLOB_UNKNOWN","message":"b"}]}`, false},
		{"a detail that is no JSON", &registry.Error{Code: registry.NameUnknown, Message: "a", Detail: func() {}}, 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"a"}]}`, false},
		{"a code that nobody knows", &registry.Error{Code: "ODD", Message: "a"}, 500, `{"errors":[{"code":"ODD","message":"a"}]}`, true},
		{"unavailable", &registry.Error{Code: registry.Unavailable, Message: "a"}, 503, `{"errors":[{"code":"UNAVAILABLE","message":"a"}]}`, true},
		{"any other", errors.New("secret"), 500, `{"errors":[{"code":"UNKNOWN","message":"the registry failed; its log says why"}]}`, true},
		{"a fact without bytes", &fs.PathError{Op: "open", Path: "secret", Err: fs.ErrNotExist}, 500, `{"errors":[{"code":"UNKNOWN","message":"the registry failed; its log says why"}]}`, true},
		{"no space", &fs.PathError{Op: "write", Path: "secret", Err: syscall.ENOSPC}, 507, `{"errors":[{"code":"STORE_FULL","message":"the store of the registry is full"}]}`, true},
		{"cancelled, but not by the client", context.Canceled, 500, `{"errors":[{"code":"UNKNOWN","message":"the registry failed; its log says why"}]}`, true},
		{"a malformed body", &readError{errors.New("malformed chunked encoding")}, 400, `{"errors":[{"code":"SIZE_INVALID","message":"read the body of the request: malformed chunked encoding"}]}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log journal
			s := with(&log, func(http.ResponseWriter, *http.Request) error { return tt.err })
			for _, method := range []string{"GET", "HEAD"} {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest(method, "/v2/", nil))
				want := tt.body + "\n"
				if method == "HEAD" {
					want = ""
				}
				if w.Code != tt.status || w.Body.String() != want {
					t.Errorf("%s: got %d %s, want %d %s", method, w.Code, w.Body, tt.status, tt.body)
				}
				if got := w.Header().Get("Retry-After"); (got != "") != (tt.status == 503) {
					t.Errorf("%s: got Retry-After %q", method, got)
				}
			}
			access := log.lines(t, "request", 2)
			if len(access) != 2 || access[0]["status"] != float64(tt.status) || (access[0]["err"] == nil) != tt.logged {
				t.Errorf("got access log %v", access)
			}
			if got := log.lines(t, "request failed", 0); (len(got) == 2) != tt.logged {
				t.Errorf("got errors in the log: %v", got)
			}
		})
	}
}

func TestErrorOfV1(t *testing.T) {
	w := httptest.NewRecorder()
	bare(Config{SearchBackend: "none"}).ServeHTTP(w, httptest.NewRequest("GET", "/v1/search", nil))
	if want := `{"error":"there is nothing at \"/v1/search\": push and pull go through /v2/, as docker does since 1.6"}` + "\n"; w.Code != 404 || w.Body.String() != want {
		t.Errorf("got %d %s, want 404 %s", w.Code, w.Body, want)
	}
}

func TestPanic(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		var log journal
		w := httptest.NewRecorder()
		with(&log, func(http.ResponseWriter, *http.Request) error { panic("ouch") }).ServeHTTP(w, httptest.NewRequest("GET", "/v2/", nil))
		if w.Code != 500 || strings.Contains(w.Body.String(), "ouch") {
			t.Errorf("got %d %s, want 500 without details", w.Code, w.Body)
		}
		if got := log.lines(t, "request failed", 1)[0]; got["level"] != "ERROR" || !strings.Contains(got["err"].(string), "ouch\ngoroutine") {
			t.Errorf("got %v, want an error with the stack", got)
		}
	})
	t.Run("within the answer", func(t *testing.T) {
		var log journal
		srv := httptest.NewServer(with(&log, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
			panic("ouch")
		}))
		defer srv.Close()
		expectCut(t, srv.URL+"/v2/")
		log.lines(t, "request failed", 1)
	})
}

// expectCut gets url and expects the answer to break off.
func expectCut(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("got %d with %d bytes, want the connection cut", resp.StatusCode, len(body))
	}
}

func TestErrorAfterTheFirstByte(t *testing.T) {
	for _, header := range []string{"Content-Length", "X-None"} { // with a length, and chunked
		var log journal
		srv := httptest.NewServer(with(&log, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(header, "100000")
			w.Write(make([]byte, 50000))
			return errors.New("ouch")
		}))
		expectCut(t, srv.URL+"/v2/")
		if got := log.lines(t, "request failed", 1); len(got) != 1 || got[0]["err"] != "ouch" {
			t.Errorf("got %v in the log, want ouch once", got)
		}
		srv.Close()
	}
}

func TestClientGone(t *testing.T) {
	var log journal
	entered := make(chan struct{}, 1)
	srv := httptest.NewServer(with(&log, func(_ http.ResponseWriter, r *http.Request) error {
		entered <- struct{}{}
		<-r.Context().Done()
		return fmt.Errorf("index: %w", r.Context().Err())
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/v2/", nil)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("got %d", resp.StatusCode)
	}
	if got := log.lines(t, "request", 1)[0]; got["status"] != float64(499) || got["level"] != "INFO" {
		t.Errorf("got %v, want status 499 at INFO", got)
	}
	if got := log.lines(t, "request failed", 0); len(got) != 0 {
		t.Errorf("got %v, want no error", got)
	}
}

func TestAccessLog(t *testing.T) {
	var log journal
	s := with(&log, func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusAccepted)
		_, err := io.WriteString(w, "hello")
		return err
	})
	r := httptest.NewRequest("POST", "/v2/"+strings.Repeat("a", 1000)+"/blobs/uploads/", nil)
	r.Header.Set("User-Agent", "crane")
	s.ServeHTTP(httptest.NewRecorder(), r)
	got := log.lines(t, "request", 1)[0]
	for k, want := range map[string]any{
		"level": "INFO", "method": "POST", "status": 202.0, "bytes": 5.0, "user_agent": "crane", "remote": r.RemoteAddr,
		"path": "/v2/" + strings.Repeat("a", 508) + "…",
	} {
		if got[k] != want {
			t.Errorf("%s: got %v, want %v", k, got[k], want)
		}
	}
	if d, ok := got["duration"].(float64); !ok || d <= 0 {
		t.Errorf("duration: got %v", got["duration"])
	}
}

// A probe that went well is no line of a usual log; one that failed is.
func TestAccessLogOfProbes(t *testing.T) {
	var log journal
	fails := false
	metrics := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	s := New(Config{Metrics: metrics}, nil, nil, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, e := range s.router.literal {
		e.routes[0].handler = func(w http.ResponseWriter, _ *http.Request) error {
			if fails {
				return &registry.Error{Code: registry.Unavailable, Message: "ouch"}
			}
			return writeOK(w)
		}
	}
	asked := 0
	want := func(level, method, path string) {
		t.Helper()
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		asked++
		if got := log.lines(t, "request", asked)[asked-1]; got["level"] != level || got["path"] != path {
			t.Errorf("%s %s: got %v, want it at %s", method, path, got, level)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		fails = false
		want("DEBUG", "GET", path)
		want("DEBUG", "HEAD", path)
		want("INFO", "POST", path)
		fails = true
		want("INFO", "GET", path)
	}
	fails = false
	want("INFO", "GET", "/v2/")
	want("INFO", "GET", "/healthz/")
}

func TestCommonHeaders(t *testing.T) {
	s := bare(Config{})
	for path, want := range map[string]string{"/v2": "registry/2.0", "/v2/": "registry/2.0", "/v2/nothing": "registry/2.0", "/healthz": "", "/v2x": ""} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := w.Header().Get("Docker-Distribution-API-Version"); got != want {
			t.Errorf("%s: got API version %q, want %q", path, got, want)
		}
		if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: got X-Content-Type-Options %q", path, got)
		}
	}
}

func TestDrain(t *testing.T) {
	var log journal
	s := with(&log, func(w http.ResponseWriter, _ *http.Request) error { return writeOK(w) })
	status := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	s.Drain()
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 503},
		{"GET", "/readyz", 503},
		{"GET", "/v2/a/manifests/v1", 503},
		{"POST", "/v2/a/blobs/uploads/", 503},
		{"POST", "/v2/a/blobs/uploads", 503},
		{"GET", "/nothing", 503},
		{"GET", "/healthz", 200},
		{"HEAD", "/healthz", 200},
		{"PATCH", "/v2/a/blobs/uploads/1", 200},
		{"PUT", "/v2/a/blobs/uploads/1?digest=x", 200},
		{"GET", "/v2/a/blobs/uploads/1", 200},
		{"DELETE", "/v2/a/blobs/uploads/1", 200},
		{"POST", "/v2/a/blobs/uploads/1", 503},
	} {
		w := status(tt.method, tt.path)
		if w.Code != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
		if h := w.Header(); tt.want == 503 && (h.Get("Connection") != "close" || h.Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "UNAVAILABLE")) {
			t.Errorf("%s %s: got %v %s", tt.method, tt.path, h, w.Body)
		}
	}
	if got := log.lines(t, "request failed", 0); len(got) != 0 {
		t.Errorf("got %v, want no errors", got)
	}
}

func TestWait(t *testing.T) {
	release, entered, done := make(chan struct{}), make(chan struct{}), make(chan int)
	s := with(new(journal), func(w http.ResponseWriter, _ *http.Request) error {
		close(entered)
		<-release
		return writeOK(w)
	})
	go func() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v2/", nil))
		done <- w.Code
	}()
	<-entered
	s.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait with a request in flight: got %v", err)
	}
	close(release)
	if err := s.Wait(t.Context()); err != nil {
		t.Errorf("Wait: got %v", err)
	}
	if got := <-done; got != 200 {
		t.Errorf("the request in flight: got %d, want 200", got)
	}
}

func TestWaitMissesNoEnd(t *testing.T) {
	s := with(new(journal), func(w http.ResponseWriter, r *http.Request) error { return writeOK(w) })
	for range 200 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/healthz", nil)) })
		}
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		all.Wait()
	}
}

// A fileTaker is a connection's end that tells what it is given to send.
type fileTaker struct {
	http.ResponseWriter
	file bool
}

func (f *fileTaker) ReadFrom(src io.Reader) (int64, error) {
	if lr, ok := src.(*io.LimitedReader); ok {
		_, f.file = lr.R.(*os.File)
	}
	return io.Copy(f.ResponseWriter, src)
}

func TestResponseLendsFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := &fileTaker{ResponseWriter: httptest.NewRecorder()}
	w := wrap(end)
	if n, err := io.CopyN(w, f, 5); n != 5 || err != nil || !end.file {
		t.Errorf("got %d bytes, %v, file %t", n, err, end.file)
	}
	if w.bytes != 5 || w.status != 200 {
		t.Errorf("got %d bytes, status %d", w.bytes, w.status)
	}
	plain := wrap(httptest.NewRecorder()) // has no ReadFrom
	if n, err := plain.ReadFrom(strings.NewReader("hello")); n != 5 || err != nil || plain.bytes != 5 {
		t.Errorf("got %d bytes, %v, counted %d", n, err, plain.bytes)
	}
	if err := http.NewResponseController(plain).Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// TestBodyCutShort has a client that leaves within its body, as seen by a handler that reads it.
func TestBodyCutShort(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		status        float64
	}{
		{"with a length", "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", 499},
		{"chunked", "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", 499},
		{"garbage", "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log journal
			srv := httptest.NewServer(with(&log, func(_ http.ResponseWriter, r *http.Request) error {
				c, err := requestChunk(r)
				if err != nil {
					return err
				}
				if _, err := io.Copy(io.Discard, c.Body); err != nil {
					return fmt.Errorf("stage: %w", err)
				}
				return nil
			}))
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, tt.request)
			conn.(*net.TCPConn).CloseWrite()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if (err == nil) != (tt.status == 400) {
				t.Errorf("got %v, %v", resp, err)
			}
			if got := log.lines(t, "request", 1)[0]; got["status"] != tt.status {
				t.Errorf("got %v, want status %v", got, tt.status)
			}
			if got := log.lines(t, "request failed", 0); len(got) != 0 {
				t.Errorf("got %v, want no error", got)
			}
		})
	}
}

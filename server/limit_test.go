package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// TestRequestRate sends more than is allowed, from one address and from another, and waits for as long as it is told.
func TestRequestRate(t *testing.T) {
	h := open(t, mem.New(), Config{MaxRequestsPerAddress: 2})
	ask := func(addr, path string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.RemoteAddr = addr
		h.server.ServeHTTP(w, r)
		return w
	}
	for i := range 20 {
		if w := ask("192.0.2.1:1", "/v2/"); w.Code != 200 {
			t.Fatalf("request %d: got %d, want the 20 of ten seconds at once", i, w.Code)
		}
	}
	w := ask("192.0.2.1:2", "/v2/")
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "TOOMANYREQUESTS") {
		t.Errorf("got %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	if w := ask("192.0.2.2:1", "/v2/"); w.Code != 200 {
		t.Errorf("another address: got %d", w.Code)
	}
	if w := ask("192.0.2.1:1", "/healthz"); w.Code != 200 {
		t.Errorf("a probe: got %d", w.Code)
	}
	for i := range 21 {
		w = ask(fmt.Sprintf("[2001:db8::%x]:1", i+1), "/v2/")
	}
	if w.Code != 429 {
		t.Errorf("the 21st address of one network: got %d, want 429", w.Code)
	}
	time.Sleep(600 * time.Millisecond)
	if w := ask("192.0.2.1:1", "/v2/"); w.Code != 200 {
		t.Errorf("after a wait: got %d", w.Code)
	}
}

// TestRateOfUsers counts users wherever they are.
func TestRateOfUsers(t *testing.T) {
	h := open(t, mem.New(), Config{MaxRequestsPerUser: 1})
	h.lock(rules(), "alice", "bob")
	for range 10 {
		h.want(200, "GET", "/v2/", nil, as("alice")...)
	}
	a := h.want(429, "GET", "/v2/", nil, append(as("alice"), "X-Forwarded-For", "198.51.100.7")...)
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds != 1 {
		t.Errorf("got Retry-After %q, want 1", a.header.Get("Retry-After"))
	}
	h.want(200, "GET", "/v2/", nil, as("bob")...)
	h.want(401, "GET", "/v2/", nil) // who has not logged in is no user
}

// TestLimitsGoOn has a server take another configuration. What was counted still is, unless it is bounded otherwise.
func TestLimitsGoOn(t *testing.T) {
	first := Config{MaxRequestsPerAddress: 1, MaxUploadsPerAddress: 1}
	h := open(t, mem.New(), first)
	ask := func(s *Server) int {
		r, w := httptest.NewRequest("GET", "/v2/", nil), httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for range 10 {
		ask(h.server)
	}
	if got := ask(h.server); got != 429 {
		t.Fatalf("got %d, want 429", got)
	}
	same, other := h.server.With(Config{MaxRequestsPerAddress: 1, MaxUploadsPerAddress: 1, Issue: "new"}, nil), Config{MaxRequestsPerAddress: 2}
	if got := ask(same); got != 429 {
		t.Errorf("with the same limits: got %d, want 429", got)
	}
	if got := ask(same.With(other, nil)); got != 200 {
		t.Errorf("with other limits: got %d, want 200", got)
	}
	if got := ask(same.With(Config{}, nil)); got != 200 {
		t.Errorf("without limits: got %d, want 200", got)
	}

	h = open(t, mem.New(), Config{MaxUploadsPerAddress: 1})
	session := h.session("app")
	body, more := io.Pipe()
	patched := make(chan int, 1)
	go func() {
		a, err := h.try("PATCH", session, body)
		if err != nil {
			t.Error(err)
		}
		patched <- a.status
	}()
	if _, err := io.WriteString(more, "some"); err != nil { // it is read, so it is counted
		t.Fatal(err)
	}
	web := httptest.NewServer(h.server.With(Config{MaxUploadsPerAddress: 1, Issue: "new"}, nil))
	defer web.Close()
	waitFor(t, func() bool { return h.do("PUT", web.URL+"/v2/app/manifests/v1", strings.NewReader("{}")).status == 429 })
	more.Close()
	if got := <-patched; got != 202 {
		t.Errorf("got %d, want 202", got)
	}
	waitFor(t, func() bool { return h.do("PUT", web.URL+"/v2/app/manifests/v1", strings.NewReader("{}")).status == 400 })
}

// TestThrottleWaits waits for as long as it is told.
func TestThrottleWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newThrottle(0.1, nil)
		if err := limit.take(httptest.NewRecorder(), "a"); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		if err := limit.take(w, "a"); err == nil || w.Header().Get("Retry-After") != "10" {
			t.Errorf("got %v, Retry-After %q, want 10", err, w.Header().Get("Retry-After"))
		}
		time.Sleep(10 * time.Second)
		if err := limit.take(httptest.NewRecorder(), "a"); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
}

// TestUploadsAtOnce holds uploads open and begins one more.
func TestUploadsAtOnce(t *testing.T) {
	h := open(t, mem.New(), Config{MaxUploadsPerUser: 2})
	h.lock(rules(), "alice", "bob", "root")
	type upload struct {
		body   *io.PipeWriter
		status chan int
	}
	begin := func(user string) upload {
		session := strings.TrimPrefix(h.want(202, "POST", "/v2/alice/app/blobs/uploads/", nil, as(user)...).header.Get("Location"), h.web.URL)
		r, w := io.Pipe()
		u := upload{w, make(chan int, 1)}
		go func() {
			a, err := h.try("PATCH", session, r, as(user)...)
			if err != nil {
				t.Error(err)
			}
			u.status <- a.status
		}()
		return u
	}
	first, second := begin("alice"), begin("alice")
	for _, u := range []upload{first, second} {
		if _, err := io.WriteString(u.body, "some"); err != nil { // it is read, so it is counted
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool {
		h.server.limits.userUploads.mu.Lock()
		defer h.server.limits.userUploads.mu.Unlock()
		return h.server.limits.userUploads.busy["alice"] == 2
	})
	third := strings.TrimPrefix(h.want(202, "POST", "/v2/alice/app/blobs/uploads/", nil, as("alice")...).header.Get("Location"), h.web.URL)
	h.want(429, "PATCH", third, strings.NewReader("some"), as("alice")...)
	other := begin("root")
	other.body.Close()
	if got := <-other.status; got != 202 {
		t.Errorf("another user: got %d, want 202", got)
	}
	for _, u := range []upload{first, second} {
		u.body.Close()
		if got := <-u.status; got != 202 {
			t.Errorf("got %d, want 202", got)
		}
	}
	again := begin("alice")
	again.body.Close()
	if got := <-again.status; got != 202 {
		t.Errorf("afterwards: got %d, want 202", got)
	}
	h.server.limits.userUploads.mu.Lock()
	defer h.server.limits.userUploads.mu.Unlock()
	if n := len(h.server.limits.userUploads.busy); n != 0 {
		t.Errorf("%d users are still counted", n)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not happen in time")
}

// TestBlobSize pushes blobs that are as long as they may be, and longer ones, in every way.
func TestBlobSize(t *testing.T) {
	const most = 1000
	j := new(journal)
	h := openWith(t, mem.New(), Config{}, registry.Config{MaxBlobSize: most}, j, j.logger())
	right, long := pattern(most), pattern(most+1)
	tooLarge := func(a answer) {
		t.Helper()
		if got := strings.Join(a.codes(), ""); got != "SIZE_INVALID" {
			t.Errorf("got %s, want SIZE_INVALID", a.body)
		}
	}
	put := func(status int, session, content string, body io.Reader) answer {
		t.Helper()
		return h.want(status, "PUT", session+"?digest="+digest.FromString(content).String(), body)
	}
	put(201, h.session("a"), right, strings.NewReader(right))
	put(201, h.session("a"), right, chunked(right))
	tooLarge(put(413, h.session("a"), long, strings.NewReader(long)))
	tooLarge(put(413, h.session("a"), long, chunked(long)))
	tooLarge(h.want(413, "POST", "/v2/a/blobs/uploads/?digest="+digest.FromString(long).String(), strings.NewReader(long)))

	session := h.session("a")
	tooLarge(h.want(413, "PATCH", session, chunked(long)))
	h.want(202, "PATCH", session, chunked(right[:600]))
	tooLarge(h.want(413, "PATCH", session, strings.NewReader(right[:401])))
	h.want(202, "PATCH", session, strings.NewReader(right[600:])) // the session lives on
	tooLarge(put(413, session, right+"x", strings.NewReader("x")))
	put(201, session, right, nil)
}

// TestSlowBody sends bodies that stop, that trickle, and that are slow and honest.
func TestSlowBody(t *testing.T) {
	h := open(t, mem.New(), Config{BodyTimeout: 300 * time.Millisecond, MinUploadRate: 1000})
	send := func(pieces int, piece string, pause time.Duration) (status int, took time.Duration) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", h.session("a"), pieces*len(piece))
		start := time.Now()
		go func() {
			for range pieces {
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
				time.Sleep(pause)
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, time.Since(start)
	}
	if status, took := send(2, "some", time.Hour); status != 408 || took > 2*time.Second {
		t.Errorf("one that stops: got %d after %v, want 408", status, took)
	}
	if status, took := send(1000, "x", 20*time.Millisecond); status != 408 || took > 3*time.Second {
		t.Errorf("one that trickles: got %d after %v, want 408", status, took)
	}
	// For much longer than the server waits, at twice the rate, with pauses of most of what it waits for.
	if status, took := send(5, pattern(400), 200*time.Millisecond); status != 202 || took < 700*time.Millisecond {
		t.Errorf("one that is honest: got %d after %v, want 202", status, took)
	}
	if line := h.log.lines(t, "request", 1); len(line) == 0 {
		t.Error("nothing is logged")
	}
}

// TestSlowBodyOfHTTP2 sends a body that stops as one of several streams of a connection, of which the others live on.
func TestSlowBodyOfHTTP2(t *testing.T) {
	h := open(t, mem.New(), Config{BodyTimeout: 300 * time.Millisecond})
	web := httptest.NewUnstartedServer(h.server)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	body, w := io.Pipe()
	defer w.Close()
	req, err := http.NewRequestWithContext(t.Context(), "PATCH", web.URL+h.session("a"), body)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(w, "some") // and no more
	resp, err := web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 408 {
		t.Errorf("got %s %s, want a 408", resp.Proto, resp.Status)
	}
	other, err := web.Client().Get(web.URL + "/v2/")
	if err != nil || other.StatusCode != 200 {
		t.Fatalf("another stream: got %v, %v", other, err)
	}
	other.Body.Close()
}

// TestRefusedBody has a client that is refused and does not send the body that it has announced: it has its answer when
// patience ends, and holds nothing up.
func TestRefusedBody(t *testing.T) {
	h := open(t, mem.New(), Config{BodyTimeout: 300 * time.Millisecond})
	h.lock(rules(), "alice")
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "PUT /v2/alice/app/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 401 || !resp.Close {
		t.Errorf("got %s, Close %v, want a 401 that ends the connection", resp.Status, resp.Close)
	}
}

// TestPatienceIsForClients has the registry take longer than a client may: that is not the client's fault.
func TestPatienceIsForClients(t *testing.T) {
	h := open(t, mem.New(), Config{BodyTimeout: 200 * time.Millisecond})
	body := h.server.newPatientBody(httptest.NewRecorder(), io.NopCloser(strings.NewReader("content")))
	one := make([]byte, 1)
	for range 3 {
		if _, err := body.Read(one); err != nil {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "tent" {
		t.Errorf("got %q, %v", rest, err)
	}
}

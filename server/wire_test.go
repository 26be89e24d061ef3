package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestOddRequests writes what no HTTP library would.
func TestOddRequests(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.pushImage("app", "v1", "layer")
	for _, tt := range []struct {
		request string
		status  int
		header  string // "Key: value" that the answer has
	}{
		{"GET http://elsewhere.example.com/v2/ HTTP/1.1\r\nHost: x\r\n", 200, ""},
		{"GET /v2/?\r\n HTTP/1.1\r\nHost: x\r\n", 400, ""},
		{"GET /v2/app/manifests/v1?%zz=;;&&n HTTP/1.1\r\nHost: x\r\n", 200, ""},
		{"GET /v2/app/manifests/v1#v2 HTTP/1.1\r\nHost: x\r\n", 404, ""},
		{"GET /v2/app\x00/manifests/v1 HTTP/1.1\r\nHost: x\r\n", 400, ""},
		{"GET /v2/app%zz/manifests/v1 HTTP/1.1\r\nHost: x\r\n", 400, ""},
		{"GET v2/ HTTP/1.1\r\nHost: x\r\n", 400, ""},
		{"GET /v2/ HTTP/1.1\r\n", 400, ""},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n", 200, ""}, // answered by net/http
		{"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n", 404, ""},
		{"GET /v2/ HTTP/1.0\r\n", 200, "Connection: close"},
		{"POST /v2/app/blobs/uploads/ HTTP/1.0\r\nContent-Length: 0\r\n", 202, "Connection: close"},
		{"GET /v2/app\"%2Fb/tags/list HTTP/1.1\r\nHost: x\r\n", 400, ""},
		{"GET /v2/app/blobs/sha256:x HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n", 400, ""},
		{"PATCH /v2/app/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n", 400, ""},
		{"PATCH /v2/app/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n", 400, ""},
	} {
		conn, r := dial(t, h)
		io.WriteString(conn, tt.request+"\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%q: %v", tt.request, err)
			continue
		}
		if k, v, _ := strings.Cut(tt.header, ": "); resp.StatusCode != tt.status || k != "" && k != "Connection" && resp.Header.Get(k) != v {
			t.Errorf("%q: got %d %v, want %d %s", tt.request, resp.StatusCode, resp.Header, tt.status, tt.header)
		}
		if location := resp.Header.Get("Location"); location != "" && !strings.HasPrefix(location, "/v2/") {
			t.Errorf("%q: got Location %q, though no host was named", tt.request, location)
		}
		conn.Close()
	}
}

func TestHTTP2(t *testing.T) {
	h := open(t, drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if op.Kind == drivertest.Read && op.N > 1<<21 {
			return syscall.EIO
		}
		return nil
	}), Config{})
	web := httptest.NewUnstartedServer(h.server)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	h.web = web
	content, long := pattern(1<<20), strings.Repeat("x", 4<<20)
	blob := "/v2/app/blobs/" + h.pushBlob("app", content).Digest.String()
	if a := h.want(200, "GET", blob, nil); a.body != content || a.header.Get("Content-Length") != fmt.Sprint(1<<20) {
		t.Errorf("got %d bytes, %v", len(a.body), a.header)
	}
	if a := h.want(206, "GET", blob, nil, "Range", "bytes=5-9"); a.body != content[5:10] {
		t.Errorf("got %q", a.body)
	}
	h.want(413, "PUT", "/v2/app/manifests/v1", chunked(long+" "))

	if a, err := h.try("GET", "/v2/app/blobs/"+h.pushBlob("app", long).Digest.String(), nil); err == nil {
		t.Errorf("got %d with %d bytes, want the stream reset", a.status, len(a.body))
	}
	if got := h.log.lines(t, "request failed", 1); len(got) != 1 || !strings.Contains(got[0]["err"].(string), "input/output error") {
		t.Errorf("got %v in the log", got)
	}

	session := h.session("app")
	before := len(h.log.lines(t, "request", 9))
	ctx, cancel := context.WithCancel(t.Context())
	body, w := io.Pipe()
	req, _ := http.NewRequestWithContext(ctx, "PATCH", web.URL+session, body)
	go func() {
		w.Write([]byte("hel"))
		cancel()
	}()
	if resp, err := web.Client().Do(req); err == nil {
		t.Errorf("PATCH: got %d", resp.StatusCode)
	}
	if got := h.log.lines(t, "request", before+1)[before]; got["status"] != float64(499) {
		t.Errorf("PATCH: got %v, want status 499", got)
	}
	h.want(201, "PUT", session+"?digest="+digest.FromString("hello").String(), strings.NewReader("hello"))
}

package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// octets is the media type that most clients give a chunk.
const octets = "application/octet-stream"

// clientUploads are the ways in which the clients in the field push a blob.
var clientUploads = []struct {
	name string
	alg  digest.Algorithm
	push func(h *house, content string, d digest.Digest) answer
}{
	{"one POST", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		return h.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), strings.NewReader(content), "Content-Type", octets)
	}},
	{"one POST without a length", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		return h.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), chunked(content))
	}},
	{"an announced digest, then PUT", digest.SHA512, func(h *house, content string, d digest.Digest) answer {
		a := h.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), nil)
		if content == "" {
			return a // that was all of it
		}
		return h.do("PUT", a.header.Get("Location")+"?digest="+d.String(), strings.NewReader(content))
	}},
	{"containerd, oras, helm: POST, PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		return h.do("PUT", h.session("app")+"?digest="+d.String(), strings.NewReader(content), "Content-Type", octets)
	}},
	{"PUT without a length", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		return h.do("PUT", h.session("app")+"?digest="+d.String(), chunked(content))
	}},
	{"crane: POST with a type, PATCH of all with a length, PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		a := h.want(202, "POST", "/v2/app/blobs/uploads/", nil, "Content-Type", "application/json")
		a = h.want(202, "PATCH", a.header.Get("Location"), strings.NewReader(content))
		if got, want := a.header.Get("Range"), fmt.Sprintf("0-%d", max(len(content)-1, 0)); got != want {
			h.t.Errorf("got Range %q, want %q", got, want)
		}
		return h.do("PUT", a.header.Get("Location")+"?digest="+d.String(), nil)
	}},
	{"skopeo, podman: POST, PATCH stream, PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		a := h.want(202, "PATCH", h.session("app"), chunked(content), "Content-Type", octets)
		return h.do("PUT", a.header.Get("Location")+"?digest="+d.String(), nil, "Content-Type", octets)
	}},
	{"regctl: anonymous mount, PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		a := h.want(202, "POST", "/v2/app/blobs/uploads/?mount="+d.String(), nil)
		return h.do("PUT", a.header.Get("Location")+"?digest="+d.String(), strings.NewReader(content))
	}},
	{"regctl: chunks, PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		return h.do("PUT", pushChunks(h, content, 300<<10)+"?digest="+d.String(), nil)
	}},
	{"the last chunk in the PUT", digest.SHA256, func(h *house, content string, d digest.Digest) answer {
		if content == "" {
			return h.do("PUT", h.session("app")+"?digest="+d.String(), nil)
		}
		half := len(content) / 2
		location := pushChunks(h, content[:half], half/3)
		return h.do("PUT", location+"?digest="+d.String(), strings.NewReader(content[half:]),
			"Content-Range", fmt.Sprintf("%d-%d", half, len(content)-1))
	}},
	{"sha512", digest.SHA512, func(h *house, content string, d digest.Digest) answer {
		a := h.want(202, "POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512", nil)
		a = h.want(202, "PATCH", a.header.Get("Location"), strings.NewReader(content))
		return h.do("PUT", a.header.Get("Location")+"?digest="+d.String(), nil)
	}},
	{"sha512 that was not announced", digest.SHA512, func(h *house, content string, d digest.Digest) answer {
		return h.do("PUT", pushChunks(h, content, 300<<10)+"?digest="+d.String(), nil)
	}},
}

func TestUploadsOfClients(t *testing.T) {
	for _, tt := range clientUploads {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, d drivers.Driver) {
				h := open(t, d, Config{})
				for _, content := range []string{pattern(1 << 20), "x", ""} {
					want := tt.alg.FromString(content)
					a := tt.push(h, content, want)
					if a.status != 201 || a.header.Get("Docker-Content-Digest") != want.String() {
						t.Fatalf("%d bytes: got %d %v %s", len(content), a.status, a.header, a.body)
					}
					got := h.want(200, "GET", a.header.Get("Location"), nil)
					if got.body != content || got.header.Get("Docker-Content-Digest") != want.String() {
						t.Errorf("got %d bytes of %d, %v", len(got.body), len(content), got.header)
					}
				}
			})
		})
	}
}

// pushChunks pushes content in chunks of n bytes and returns the place of the session.
func pushChunks(h *house, content string, n int) string {
	h.t.Helper()
	location := h.web.URL + h.session("app")
	for off := 0; off < len(content); off += n {
		chunk := content[off:min(off+n, len(content))]
		a := h.want(202, "PATCH", location, strings.NewReader(chunk), "Content-Range", fmt.Sprintf("%d-%d", off, off+len(chunk)-1))
		if got, want := a.header.Get("Range"), fmt.Sprintf("0-%d", off+len(chunk)-1); got != want {
			h.t.Errorf("got Range %q, want %q", got, want)
		}
		location = a.header.Get("Location")
	}
	return location
}

func TestChunkInTheWrongPlace(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		session := h.session("app")
		h.want(202, "PATCH", session, strings.NewReader("hello "), "Content-Range", "0-5")
		want := digest.FromString("hello world").String()
		for _, rq := range []struct{ method, target, header string }{
			{"PATCH", session, "0-4"}, // again
			{"PATCH", session, "7-11"},
			{"PATCH", session, "5-9"},
			{"PATCH", session, "9-5"},
			{"PUT", session + "?digest=" + want, "7-11"},
			{"PUT", session + "?digest=" + want, "0-4"},
			{"PUT", session + "?digest=" + want, "nonsense"},
		} {
			a := h.do(rq.method, rq.target, strings.NewReader("world"), "Content-Range", rq.header)
			if a.status != 416 || a.header.Get("Range") != "0-5" || a.header.Get("Location") != h.web.URL+session || a.header.Get("Docker-Upload-UUID") == "" {
				t.Errorf("%s %s: got %d %v, want 416 with the state of the session", rq.method, rq.header, a.status, a.header)
			}
			if a := h.do("GET", session, nil); a.status != 204 || a.header.Get("Range") != "0-5" {
				t.Errorf("%s %s: then got %d %v", rq.method, rq.header, a.status, a.header)
			}
		}
		h.want(201, "PUT", session+"?digest="+want, strings.NewReader("world"), "Content-Range", "6-10")
		h.want(404, "GET", session, nil)
		if a := h.want(200, "GET", "/v2/app/blobs/"+want, nil); a.body != "hello world" {
			t.Errorf("got %q", a.body)
		}
	})
}

func TestSessionOfAnotherRepository(t *testing.T) {
	h := open(t, mem.New(), Config{})
	foreign := strings.Replace(h.session("app"), "/app/", "/other/", 1)
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		h.want(404, method, foreign+"?digest="+digest.FromString("x").String(), body(method, "x"))
	}
}

func TestCancelledUpload(t *testing.T) {
	h := open(t, mem.New(), Config{})
	session := h.session("app")
	h.want(202, "PATCH", session, strings.NewReader("hello"))
	h.want(204, "DELETE", session, nil)
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		h.want(404, method, session+"?digest="+digest.FromString("hello").String(), body(method, "hello"))
	}
	for o := range h.driver.List(t.Context(), "docker/", "") {
		t.Errorf("left behind: %s", o.Key)
	}
}

// TestOneSessionAtOnce has several clients write to one session.
func TestOneSessionAtOnce(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		session := h.session("app")
		content := pattern(8 << 10)
		want := digest.FromString(content).String()
		var accepted, committed atomic.Int32
		race := func(won *atomic.Int32, win int, method, target string, body func() io.Reader, header ...string) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					switch a, err := h.try(method, target, body(), header...); {
					case err != nil:
						t.Error(err)
					case a.status == win:
						won.Add(1)
					case a.status != 416 && a.status != 404:
						t.Errorf("%s: got %d %s", method, a.status, a.body)
					}
				})
			}
			all.Wait()
		}
		for off := 0; off < len(content); off += 1 << 10 {
			race(&accepted, 202, "PATCH", session, func() io.Reader { return strings.NewReader(content[off : off+1<<10]) },
				"Content-Range", fmt.Sprintf("%d-%d", off, off+1<<10-1))
		}
		if accepted.Load() != 8 {
			t.Errorf("got %d chunks accepted, want 8", accepted.Load())
		}
		race(&committed, 201, "PUT", session+"?digest="+want, func() io.Reader { return nil })
		if committed.Load() == 0 {
			t.Error("no PUT was accepted")
		}
		if a := h.want(200, "GET", "/v2/app/blobs/"+want, nil); a.body != content {
			t.Errorf("got %d bytes, want %d", len(a.body), len(content))
		}
	})
}

func TestClientLeavesWithinAnUpload(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		session := h.session("app")
		want := digest.FromString("hello").String()
		for i, target := range []string{session, session + "?digest=" + want, "/v2/app/blobs/uploads/?digest=" + want} {
			method := []string{"PATCH", "PUT", "POST"}[i]
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			req, _ := http.NewRequestWithContext(ctx, method, h.web.URL+target, r)
			go func() {
				w.Write([]byte("hel"))
				cancel()
				w.CloseWithError(context.Canceled)
			}()
			if resp, err := h.web.Client().Do(req); err == nil {
				t.Errorf("%s: got %d", method, resp.StatusCode)
			}
			line := h.log.lines(t, "request", 2+2*i)[1+2*i]
			if line["status"] != float64(499) || line["level"] != "INFO" {
				t.Errorf("%s: got %v, want status 499", method, line)
			}
			h.want(204, "GET", session, nil)
		}
		if got := h.log.lines(t, "request failed", 0); len(got) != 0 {
			t.Errorf("got %v, want no error", got)
		}
		if keys := h.keys(); len(keys) != 0 {
			t.Errorf("stored: %q", keys)
		}
		h.want(201, "PUT", session+"?digest="+want, strings.NewReader("hello"))
	})
}

// large is more than an upload keeps out of the store.
var large = strings.Repeat("hello", 40_000)

func TestStoreFailsWithinAnUpload(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{syscall.ENOSPC, 507, "STORE_FULL"},
		{syscall.EDQUOT, 507, "STORE_FULL"},
		{errors.New("ouch"), 500, "UNKNOWN"},
		{io.ErrUnexpectedEOF, 500, "UNKNOWN"},
		{context.Canceled, 500, "UNKNOWN"}, // not by the client, which is still there
	} {
		for _, kind := range []drivertest.Kind{drivertest.Write, drivertest.Commit} {
			t.Run(fmt.Sprintf("%s: %v", kind, tt.err), func(t *testing.T) {
				eachDriver(t, func(t *testing.T, d drivers.Driver) {
					var broken atomic.Bool
					h := open(t, drivertest.Faulty(d, func(op drivertest.Op) error {
						if broken.Load() && op.Kind == kind {
							return tt.err
						}
						return nil
					}), Config{})
					want := digest.FromString(large).String()
					session := h.session("app")
					broken.Store(true)
					for i, rq := range []struct{ method, target string }{
						{"PATCH", session}, {"PUT", session + "?digest=" + want}, {"POST", "/v2/app/blobs/uploads/?digest=" + want},
					} {
						a := h.do(rq.method, rq.target, strings.NewReader(large))
						if a.status != tt.status || strings.Join(a.codes(), "") != tt.code || strings.Contains(a.body, tt.err.Error()) {
							t.Errorf("%s: got %d %s, want %d %s", rq.method, a.status, a.body, tt.status, tt.code)
						}
						if got := h.log.lines(t, "request failed", i+1); len(got) != i+1 {
							t.Errorf("%s: got %v in the log", rq.method, got)
						}
					}
					broken.Store(false)
					if keys := h.keys(); len(keys) != 0 {
						t.Errorf("stored: %q", keys)
					}
					h.want(201, "PUT", session+"?digest="+want, strings.NewReader(large))
				})
			})
		}
	}
}

// dial opens a connection to write requests on by hand.
func dial(t *testing.T, h *house) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", h.web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

func TestExpectContinue(t *testing.T) {
	h := open(t, mem.New(), Config{})
	t.Run("for a body that is wanted", func(t *testing.T) {
		conn, r := dial(t, h)
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", h.session("app"))
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 100 {
			t.Fatalf("got %v, %v, want 100", resp, err)
		}
		io.WriteString(conn, "hello")
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 202 {
			t.Fatalf("got %v, %v, want 202", resp, err)
		}
	})
	for _, request := range []string{
		"PATCH /v2/app/blobs/uploads/unheard", "PUT /v2/app/blobs/uploads/unheard?digest=" + unknown, "PUT /v2/A/manifests/v1",
		"PUT /v2/app/manifests/-", "POST /v2/app/blobs/uploads/?digest=x",
	} {
		t.Run("for one that is not: "+request, func(t *testing.T) {
			conn, r := dial(t, h)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", request)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode < 400 || !resp.Close {
				t.Fatalf("got %v, %v, want an error and the end of the connection", resp, err)
			}
		})
	}
}

func TestLocation(t *testing.T) {
	session := regexp.MustCompile(`^(.*)/v2/app/blobs/uploads/[0-9a-f-]{36}$`)
	for _, tt := range []struct {
		name string
		cfg  Config
		tls  bool
		want string
	}{
		{"of the request", Config{}, false, "http://registry.example.com:5000"},
		{"of the request over TLS", Config{}, true, "https://registry.example.com:5000"},
		{"configured", Config{HTTPHost: "https://r.example.com/"}, false, "https://r.example.com"},
		{"configured below a path", Config{HTTPHost: "https://r.example.com/a"}, false, "https://r.example.com/a"},
		{"configured without a scheme", Config{HTTPHost: "r.example.com"}, true, "https://r.example.com"},
		{"relative", Config{HTTPRelativeURLs: true, HTTPHost: "https://r.example.com"}, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, mem.New(), tt.cfg)
			web := httptest.NewServer(h.server)
			if tt.tls {
				web = httptest.NewTLSServer(h.server)
			}
			defer web.Close()
			send := func(method, path, content string) string {
				req, _ := http.NewRequest(method, web.URL+path, strings.NewReader(content))
				req.Host = "registry.example.com:5000"
				resp, err := web.Client().Do(req)
				if err != nil || resp.StatusCode >= 300 {
					t.Fatalf("%s: got %v, %v", method, resp, err)
				}
				resp.Body.Close()
				return resp.Header.Get("Location")
			}
			got := session.FindStringSubmatch(send("POST", "/v2/app/blobs/uploads/", ""))
			if got == nil || got[1] != tt.want {
				t.Errorf("POST: got Location %q, want one of %q", got, tt.want)
			}
			d := digest.FromString("hello").String()
			path := strings.TrimPrefix(got[0], tt.want)
			if got := send("PUT", path+"?digest="+d, "hello"); got != tt.want+"/v2/app/blobs/"+d {
				t.Errorf("PUT: got Location %q", got)
			}
		})
	}
}

func TestDrainLetsUploadsEnd(t *testing.T) {
	h := open(t, mem.New(), Config{})
	session := h.session("app")
	h.server.Drain()
	h.want(202, "PATCH", session, strings.NewReader("hel"))
	h.want(204, "GET", session, nil)
	h.want(201, "PUT", session+"?digest="+digest.FromString("hello").String(), strings.NewReader("lo"))
	a := h.want(503, "POST", "/v2/app/blobs/uploads/", nil)
	if strings.Join(a.codes(), "") != "UNAVAILABLE" || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s", a.header, a.body)
	}
	h.want(404, "PATCH", session, strings.NewReader("x"))
	h.want(503, "GET", "/readyz", nil)
	h.want(200, "GET", "/healthz", nil)
	if err := h.server.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

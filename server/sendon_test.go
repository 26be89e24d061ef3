package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// TestRefusedWhileSending refuses bodies of which a client has sent a part. The connection takes more of it for a while
// after the answer: if it were closed at once, what the client sends on would be answered by a reset, which makes many
// clients forget the answer that they have not read yet.
func TestRefusedWhileSending(t *testing.T) {
	j := new(journal)
	h := openWith(t, mem.New(), Config{}, registry.Config{MaxBlobSize: 1 << 20}, j, j.logger())
	h.lock(rules(), "alice")
	secure := httptest.NewTLSServer(h.server)
	defer secure.Close()
	session := strings.TrimPrefix(h.want(202, "POST", "/v2/alice/app/blobs/uploads/", nil, as("alice")...).header.Get("Location"), h.web.URL)
	for _, tt := range []struct {
		name, request, user string
		want                int
		code                string
	}{
		{"a chunk", "PATCH " + session, "alice", 413, "SIZE_INVALID"},
		{"a blob", "PUT " + session + "?digest=" + unknown, "alice", 413, "SIZE_INVALID"},
		{"a manifest", "PUT /v2/alice/app/manifests/v1", "alice", 413, "MANIFEST_INVALID"},
		{"a blob of nobody", "PUT " + session + "?digest=" + unknown, "", 401, "UNAUTHORIZED"},
		{"a chunk of no upload", "PATCH /v2/alice/app/blobs/uploads/none", "alice", 404, "BLOB_UPLOAD_UNKNOWN"},
	} {
		for _, framing := range []string{"Content-Length: 67108864\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4000000\r\n"} {
			for _, web := range []*httptest.Server{h.web, secure} {
				t.Run(tt.name+", "+framing[:8]+", "+web.URL[:5], func(t *testing.T) {
					conn, err := net.Dial("tcp", web.Listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					if web == secure {
						conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
					}
					authorization := ""
					if tt.user != "" {
						authorization = "Authorization: " + as(tt.user)[1] + "\r\n"
					}
					fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s%s", tt.request, authorization, framing)
					sent := make(chan error, 1)
					go func() {
						_, err := conn.Write(make([]byte, 6<<20))
						sent <- err
					}()
					answer := bufio.NewReader(conn)
					resp, err := http.ReadResponse(answer, nil)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != tt.want || !strings.Contains(string(body), tt.code) {
						t.Errorf("got %d %s, %v, want %d with %s", resp.StatusCode, body, err, tt.want, tt.code)
					}
					if _, err := answer.ReadByte(); err != io.EOF {
						t.Errorf("after the answer: got %v, want its end", err)
					}
					time.Sleep(20 * time.Millisecond)
					select {
					case err := <-sent:
						if err != nil {
							t.Errorf("the rest of the body: %v", err)
						}
					default: // it waits for a server that takes no more
					}
				})
			}
		}
	}
}

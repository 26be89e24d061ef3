package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A mailbox is a session of an SMTP server that takes everything.
type mailbox chan string

func (b mailbox) Reset()                               {}
func (b mailbox) Logout() error                        { return nil }
func (b mailbox) Mail(string, *smtp.MailOptions) error { return nil }
func (b mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (b mailbox) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	b <- string(text)
	return err
}

// newMailbox returns the mailbox of a server, and the port of that.
func newMailbox(t *testing.T) (box mailbox, port string) {
	t.Helper()
	box = make(mailbox, 10)
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return box, nil }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return box, port
}

// TestMail takes the bytes of a blob away, and looks at the mail about those who ask for it. What clients do wrong is in no
// mail.
func TestMail(t *testing.T) {
	const flat = `
prod:
    storage: local
    storage_path: _env:STORAGE_PATH
    http_addr: _env:REGISTRY_HTTP_ADDR
    smtp_host: 127.0.0.1
    smtp_port: %s
    from_addr: docker@myself.com
    to_addr: my@myself.com
`
	box, port := newMailbox(t)
	for _, tt := range []struct {
		name string
		o    harness.Options
	}{
		{"environment", harness.Options{Env: []string{"SMTP_HOST=127.0.0.1", "SMTP_PORT=" + port, "SMTP_TO_ADDR=my@myself.com"}}},
		{"flat keys", harness.Options{Flavor: "prod", Config: fmt.Sprintf(flat, port)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := harness.StartParfait(t, tt.o)
			c := newRawClient(s.URL)
			defer c.close()
			content := []byte("to be lost")
			if _, err := c.pushBlob(t.Context(), "lost", postDigest, content); err != nil {
				t.Fatal(err)
			}
			d := digest.FromBytes(content)
			if err := os.RemoveAll(filepath.Join(s.Storage, "docker/registry/v2/blobs/sha256", d.Encoded()[:2])); err != nil {
				t.Fatal(err)
			}
			for _, request := range []struct {
				status int
				path   string
			}{{404, "/v2/nobody/manifests/v1"}, {500, "/v2/lost/blobs/" + d.String()}, {500, "/v2/lost/blobs/" + d.String()}} {
				if _, err := c.want(t.Context(), request.status, "GET", request.path, nil); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case got := <-box:
				t.Log(got)
				got = strings.ReplaceAll(got, "=\r\n", "")
				for _, want := range []string{"To: <my@myself.com>", "Docker registry exception on ", "2 errors", "2 times: request failed: open blob", "request_id=3D",
					"GET path=3D/v2/lost/blobs/" + d.String()} {
					if !strings.Contains(got, want) {
						t.Errorf("there is no %q in it", want)
					}
				}
				if strings.Contains(got, "nobody") {
					t.Error("what a client did wrong is in it")
				}
			case <-time.After(30 * time.Second):
				t.Error("there is no mail")
			}
		})
	}
}

// A server of mail that is not there is mentioned; an address that is none ends the start.
func TestMailIsWrong(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{Env: []string{"SMTP_HOST=127.0.0.1", "SMTP_PORT=1"}})
	if err := eventually(10*time.Second, func() error {
		if n := strings.Count(s.Log(), "mail about errors cannot be sent"); n != 1 {
			return fmt.Errorf("it is mentioned %d times", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	resp, err := http.Get(s.URL + "/v2/")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	}
	out, status := harness.RunParfait(t, harness.Options{Env: []string{"SMTP_HOST=127.0.0.1", "SMTP_TO_ADDR=nobody"}}, "serve")
	if status != 2 || !strings.Contains(out, "to_addr") || strings.Count(strings.TrimSpace(out), "\n") != 0 {
		t.Errorf("got status %d and %q", status, out)
	}
}

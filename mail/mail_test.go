package mail_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/parfait-registry/parfait/flavors"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/mail"
)

// trusted is the certificate that this process trusts, and the file that has it with its key.
var trusted struct {
	pair tls.Certificate
	file string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "parfait-mail-")
	if err != nil {
		panic(err)
	}
	trusted.file = filepath.Join(dir, "pair.pem")
	if trusted.pair, err = newPair(trusted.file); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", trusted.file) // which is read once
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// newPair makes a certificate for this machine, and a file with it and its key.
func newPair(file string) (pair tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return pair, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return pair, err
	}
	return tls.X509KeyPair(text, text)
}

// A postOffice is an SMTP server. It implements the backend of one, and its sessions.
type postOffice struct {
	t        *testing.T
	addr     string
	password string // that is asked for; empty: none is
	loggedIn bool   // of the last session; guarded by mu

	mu   sync.Mutex
	mail []*netmail.Message // guarded by mu
	to   []string           // recipients; guarded by mu
}

type office struct {
	tls      *tls.Config // nil: without
	implicit bool
	password string
	addr     string // to listen on; empty: any
}

func (o office) open(t *testing.T) *postOffice {
	t.Helper()
	p := &postOffice{t: t, password: o.password}
	s := smtp.NewServer(p)
	s.Domain, s.AllowInsecureAuth = "localhost", true
	addr := o.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	if o.implicit {
		l = tls.NewListener(l, o.tls)
	} else {
		s.TLSConfig = o.tls
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return p
}

// config is that of a mailer to the office.
func (p *postOffice) config() mail.Config { return configOf(p.t, p.addr) }

func configOf(t *testing.T, addr string) mail.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg := mail.Config{Host: host, From: "Registry <registry@example.com>", To: "ops@example.com, Boss <boss@example.com>",
		Gather: 20 * time.Millisecond, Interval: 100 * time.Millisecond, Mask: flavors.Mask, About: "parfait test, flavor prod,"}
	fmt.Sscan(port, &cfg.Port)
	return cfg
}

func (p *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loggedIn = false
	return p, nil
}

func (p *postOffice) AuthMechanisms() []string {
	if p.password == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (p *postOffice) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "me" || password != p.password {
			return errors.New("who is that?")
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.loggedIn = true
		return nil
	}), nil
}

func (p *postOffice) Mail(string, *smtp.MailOptions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.password != "" && !p.loggedIn {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (p *postOffice) Rcpt(to string, _ *smtp.RcptOptions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = append(p.to, to)
	return nil
}

func (p *postOffice) Data(r io.Reader) error {
	m, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	m.Body = bytes.NewReader(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mail = append(p.mail, m)
	return nil
}

func (p *postOffice) Reset()        {}
func (p *postOffice) Logout() error { return nil }

// wait returns the n-th mail, from 1 on, with its subject and text, when it is there.
func (p *postOffice) wait(n int) (subject, text string) {
	p.t.Helper()
	var m *netmail.Message
	eventually(p.t, fmt.Sprintf("mail %d is there", n), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.mail) >= n {
			m = p.mail[n-1]
		}
		return m != nil
	})
	body, err := io.ReadAll(m.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		p.t.Fatal(err)
	}
	return subject, strings.ReplaceAll(string(body), "\r\n", "\n")
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it does not come to be that %s", what)
		}
	}
}

// open opens a mailer, and the log whose errors it sends. plain gets the lines.
func open(t *testing.T, cfg mail.Config) (m *mail.Mailer, log *slog.Logger, plain *logtest.Buffer) {
	t.Helper()
	plain = new(logtest.Buffer)
	h := slog.NewTextHandler(plain, nil)
	m, err := mail.Open(t.Context(), cfg, slog.New(h))
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { m.Close(context.Background()) }) })
	return m, slog.New(m.Handler(h)), plain
}

// TestSecurity sends by each way there is, and does not send by none.
func TestSecurity(t *testing.T) {
	known := &tls.Config{Certificates: []tls.Certificate{trusted.pair}}
	pair, err := newPair(filepath.Join(t.TempDir(), "unknown.pem"))
	if err != nil {
		t.Fatal(err)
	}
	unknown := &tls.Config{Certificates: []tls.Certificate{pair}}
	asking := &tls.Config{Certificates: known.Certificates, ClientAuth: tls.RequireAnyClientCert}
	login := func(c *mail.Config) { c.Login, c.Password = "me", "hush" }
	secure := func(mode string) func(*mail.Config) { return func(c *mail.Config) { c.Secure.Mode = mode } }
	for _, tt := range []struct {
		name   string
		office office
		config []func(*mail.Config)
		fails  string // what is in the log if nothing can be sent
	}{
		{"nothing", office{}, nil, ""},
		{"false, where TLS could be had", office{tls: unknown}, []func(*mail.Config){secure("false")}, ""},
		{"STARTTLS", office{tls: known}, []func(*mail.Config){secure("true")}, ""},
		{"STARTTLS and a password", office{tls: known, password: "hush"}, []func(*mail.Config){secure("starttls"), login}, ""},
		{"TLS", office{tls: known, implicit: true}, []func(*mail.Config){secure("tls")}, ""},
		{"TLS and a password", office{tls: known, implicit: true, password: "hush"}, []func(*mail.Config){secure("tls"), login}, ""},
		{"a certificate of the client", office{tls: asking}, []func(*mail.Config){secure(trusted.file)}, ""},
		{"a group of files", office{tls: asking}, []func(*mail.Config){func(c *mail.Config) { c.Secure.KeyFile, c.Secure.CertFile = trusted.file, trusted.file }}, ""},
		{"no certificate of the client", office{tls: asking}, []func(*mail.Config){secure("true")}, "certificate required"},
		{"STARTTLS of a server without", office{}, []func(*mail.Config){secure("true")}, "STARTTLS"},
		{"TLS of a server without", office{}, []func(*mail.Config){secure("tls")}, "tls"},
		{"a certificate that nobody knows", office{tls: unknown}, []func(*mail.Config){secure("true")}, "certificate"},
		{"a password without TLS", office{password: "hush"}, []func(*mail.Config){login}, "auth"},
		{"another password", office{tls: known, password: "other"}, []func(*mail.Config){secure("true"), login}, "who is that?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.office.open(t)
			cfg := p.config()
			for _, set := range tt.config {
				set(&cfg)
			}
			_, log, plain := open(t, cfg)
			log.Error("disaster")
			if tt.fails == "" {
				if subject, _ := p.wait(1); !strings.Contains(subject, "disaster") {
					t.Errorf("got %q", subject)
				}
				return
			}
			eventually(t, "it is told", func() bool { return strings.Contains(plain.String(), "mail about errors cannot be sent") })
			if got := strings.ToLower(plain.String()); !strings.Contains(got, strings.ToLower(tt.fails)) || strings.Contains(got, "hush") {
				t.Errorf("got %s, want %q", got, tt.fails)
			}
			if len(p.mail) != 0 {
				t.Error("it was sent")
			}
		})
	}
}

// failure is the error of a handler that panicked, as the server logs it.
func failure() (err error) {
	defer func() { err = fmt.Errorf("panic: %v\n%s", recover(), debug.Stack()) }()
	panic("a bug")
}

// TestText looks at what an operator reads.
func TestText(t *testing.T) {
	p := office{}.open(t)
	cfg := p.config()
	cfg.Gather, cfg.Interval = 300*time.Millisecond, time.Hour
	told := make(chan string, 10)
	cfg.Sent = func(shown, counted int, err error) { told <- fmt.Sprint(shown, " shown, ", counted, " counted, ", err) }
	m, log, _ := open(t, cfg)
	for i := range 50 {
		log.Error("request failed", "method", "PUT", "path", fmt.Sprintf("/v2/a/blobs/uploads/%d", i),
			"err", fmt.Errorf("put blob sha256:%064x: write %q: no space left on device", i, fmt.Sprint("/data/", i)))
	}
	log.With("task", "x").WithGroup("g").Error("request failed", "method", "GET", "err", failure())
	log.Error("background work failed", "url", "postgres://me:hush@db/x", "err", errors.New("dial postgres://me:hush@db/x: refused"))
	log.Warn("nobody is to be woken by this")
	log.Info("nor this")
	subject, text := p.wait(1)
	if got, want := <-told, "5 shown, 47 counted, <nil>"; got != want {
		t.Errorf("the mail has %s, want %s", got, want)
	}
	if !strings.HasPrefix(subject, "Docker registry exception on ") || !strings.HasSuffix(subject, "and 2 more kinds") {
		t.Errorf("subject: got %q", subject)
	}
	for _, want := range []string{
		"parfait test, flavor prod, on ", "has logged 52 errors from 2",
		"1. 50 times: request failed: put blob ...: write ...: no space left on device",
		`path=/v2/a/blobs/uploads/0 err="put blob sha256:000`, "path=/v2/a/blobs/uploads/2 ", "and 47 more",
		"2. 1 time: request failed", `task=x method=GET err="panic: a bug"`, "goroutine ", "mail_test.failure(",
		"3. 1 time: background work failed", "postgres://me:***@db/x",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for _, not := range []string{"hush", "nobody", "nor this", "uploads/3 "} {
		if strings.Contains(text, not) {
			t.Errorf("there is %q in\n%s", not, text)
		}
	}
	if h := p.mail[0].Header; h.Get("From") != `"Registry" <registry@example.com>` || h.Get("Date") == "" || h.Get("Message-Id") == "" || len(p.to) != 2 {
		t.Errorf("got %v to %q", h, p.to)
	}

	// It is an hour until the next one. That time is kept at the end, too.
	log.Error("once more")
	m.Close(context.Background())
	if len(p.mail) != 1 {
		t.Errorf("got %d mails", len(p.mail))
	}
}

// TestInterval counts: each error is in one mail, and mails are apart.
func TestInterval(t *testing.T) {
	p := office{}.open(t)
	cfg := p.config()
	cfg.Interval = 200 * time.Millisecond
	_, log, _ := open(t, cfg)
	began, total := time.Now(), 0
	for total < 100 {
		log.Error("disaster")
		total++
		time.Sleep(10 * time.Millisecond)
	}
	counted := 0
	for n := 1; counted < total; n++ {
		_, text := p.wait(n)
		var k int
		if _, err := fmt.Sscanf(text[strings.Index(text, "1. "):], "1. %d time", &k); err != nil {
			t.Fatal(err, text)
		}
		counted += k
	}
	if most := int(time.Since(began)/cfg.Interval) + 1; counted != total || len(p.mail) > most || len(p.mail) < 2 {
		t.Errorf("got %d errors in %d mails, want %d in at most %d", counted, len(p.mail), total, most)
	}
}

// The mail that waits is sent at the end.
func TestClose(t *testing.T) {
	p := office{}.open(t)
	cfg := p.config()
	cfg.Gather = time.Hour
	m, log, _ := open(t, cfg)
	log.Error("disaster")
	m.Close(context.Background())
	if _, text := p.wait(1); !strings.Contains(text, "1 error.") {
		t.Errorf("got %s", text)
	}
}

// TestSilentServer has a server that never says a word. Nobody waits for it.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, log, plain := open(t, configOf(t, l.Addr().String()))
	for range 10_000 {
		log.Error("disaster", "err", errors.New("a\nb"))
	}
	if n := strings.Count(plain.String(), "msg=disaster"); n != 10_000 {
		t.Errorf("%d lines are in the log", n)
	}
}

// TestOutage has the server away from the start. That is said once, and what happened meanwhile is sent in the end.
func TestOutage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, log, plain := open(t, configOf(t, addr))
	for i := range 5 {
		log.Error("disaster", "n", i)
		time.Sleep(60 * time.Millisecond)
	}
	eventually(t, "that is said", func() bool { return strings.Contains(plain.String(), "cannot be sent") })
	p := office{addr: addr}.open(t)
	_, text := p.wait(1)
	if !strings.Contains(text, "1. 5 times: disaster") {
		t.Errorf("got %s", text)
	}
	eventually(t, "that is said", func() bool { return strings.Contains(plain.String(), "can be sent again") })
	if n := strings.Count(plain.String(), "cannot be sent"); n != 1 {
		t.Errorf("said %d times in\n%s", n, plain)
	}
}

func TestCheck(t *testing.T) {
	good := mail.Config{Host: "smtp.example.com", To: "ops@example.com"}
	for _, tt := range []struct {
		name string
		set  func(*mail.Config)
		want string // of the error
	}{
		{"good", func(*mail.Config) {}, ""},
		{"no host, and nothing right", func(c *mail.Config) { *c = mail.Config{To: "x", Port: -1} }, ""},
		{"a port in the host", func(c *mail.Config) { c.Host = "smtp:25" }, "smtp_host"},
		{"a port that is none", func(c *mail.Config) { c.Port = 70000 }, "smtp_port"},
		{"nobody to send to", func(c *mail.Config) { c.To = "" }, "to_addr"},
		{"somebody who is nobody", func(c *mail.Config) { c.To = "ops@" }, "to_addr"},
		{"two", func(c *mail.Config) { c.To = "a@b, c@d" }, ""},
		{"two, of which one is none", func(c *mail.Config) { c.To = "a@b, c" }, "to_addr"},
		{"from nobody", func(c *mail.Config) { c.From = "nobody" }, "from_addr"},
		{"a password of nobody", func(c *mail.Config) { c.Password = "hush" }, "smtp_login"},
		{"an unknown word", func(c *mail.Config) { c.Secure.Mode = "perhaps" }, "smtp_secure"},
		{"a file that is not there", func(c *mail.Config) { c.Secure.Mode = "/nowhere.pem" }, "smtp_secure"},
		{"a certificate without key", func(c *mail.Config) { c.Secure.CertFile = "/nowhere.pem" }, "keyfile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.set(&cfg)
			err := cfg.Check()
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hush")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	flat := mail.Config{Host: "flat", To: "flat@example.com"}
	group := mail.Config{Host: "group", To: "group@example.com", Port: 25}
	if got := group.Or(flat); got.Host != "group" || got.To != group.To {
		t.Errorf("got %+v", got)
	}
	group.Host = ""
	if got := group.Or(flat); got.Host != "flat" || got.To != "flat@example.com" || got.Port != 25 {
		t.Errorf("got %+v", got)
	}
}

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/logtest"
)

// A journal is a log that a test reads.
type journal struct{ logtest.Buffer }

func (j *journal) count(part string) int { return strings.Count(j.String(), part) }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// selfSigned fills a folder for localhost and returns the configuration for it.
func selfSigned(t *testing.T) (dir string, cfg Config) {
	t.Helper()
	dir = t.TempDir()
	if err := SelfSign(dir, []string{"localhost", "127.0.0.1"}, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	return dir, Config{Certificate: filepath.Join(dir, ServerCert), Key: filepath.Join(dir, ServerKey)}
}

// listen serves handshakes by cfg, and then one byte.
func listen(t *testing.T, cfg Config, log *slog.Logger) (addr string) {
	t.Helper()
	conf, err := Open(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if conn.(*tls.Conn).Handshake() == nil {
					conn.Write([]byte{1})
				}
			}()
		}
	}()
	return l.Addr().String()
}

// dial connects and waits for the byte: with TLS 1.3 a client has done its part before the server refuses it.
func dial(addr string, conf *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

// trusting is a client that trusts the authority of a folder.
func trusting(t *testing.T, dir string) *tls.Config {
	t.Helper()
	pool, err := authorities([]string{filepath.Join(dir, AuthorityCert)})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// TestOffered scans what a server speaks: every version, and every suite that there is for TLS 1.2.
func TestOffered(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cfg      Config
		versions []uint16
		suites   []uint16 // of TLS 1.2
	}{
		{"default", Config{}, []uint16{tls.VersionTLS12, tls.VersionTLS13}, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}},
		{"1.3 alone", Config{MinimumTLS: "tls1.3"}, []uint16{tls.VersionTLS13}, nil},
		{"one suite", Config{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
			[]uint16{tls.VersionTLS12, tls.VersionTLS13}, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, files := selfSigned(t)
			tt.cfg.Certificate, tt.cfg.Key = files.Certificate, files.Key
			addr := listen(t, tt.cfg, slog.New(slog.DiscardHandler))
			for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
				client := trusting(t, dir)
				client.MinVersion, client.MaxVersion = version, version
				if _, err := dial(addr, client); (err == nil) != slices.Contains(tt.versions, version) {
					t.Errorf("%s: got %v, want versions %x", tls.VersionName(version), err, tt.versions)
				}
			}
			for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
					continue
				}
				client := trusting(t, dir)
				client.MaxVersion, client.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
				state, err := dial(addr, client)
				if (err == nil) != slices.Contains(tt.suites, suite.ID) {
					t.Errorf("%s: got %v, %s", suite.Name, err, tls.CipherSuiteName(state.CipherSuite))
				}
			}
		})
	}
}

// TestSwap replaces the certificate: by half of a new one, by a whole one, and by nonsense.
func TestSwap(t *testing.T) {
	dir, cfg := selfSigned(t)
	j := new(journal)
	addr := listen(t, cfg, j.logger())
	serial := func() string {
		t.Helper()
		state, err := dial(addr, trusting(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	become := func(want string) {
		t.Helper()
		for range 100 {
			if serial() == want {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("the server does not show certificate %s", want)
	}
	old := serial()
	fresh := t.TempDir()
	for _, name := range []string{AuthorityCert, AuthorityKey} {
		copyFile(t, filepath.Join(dir, name), filepath.Join(fresh, name))
	}
	if err := SelfSign(fresh, []string{"localhost"}, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(fresh, ServerCert), filepath.Join(fresh, ServerKey))
	if err != nil {
		t.Fatal(err)
	}

	copyFile(t, filepath.Join(fresh, ServerCert), cfg.Certificate) // and not yet the key
	time.Sleep(lookEvery + 100*time.Millisecond)
	if got := serial(); got != old || j.count("level=ERROR") != 0 {
		t.Errorf("half of a pair: got certificate %s and a log of %q, want %s and none", got, j, old)
	}
	copyFile(t, filepath.Join(fresh, ServerKey), cfg.Key)
	become(pair.Leaf.SerialNumber.String())

	if err := os.WriteFile(cfg.Key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(cfg.Key, long, long); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(cfg.Certificate, long, long); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		time.Sleep(lookEvery + 100*time.Millisecond)
		if got := serial(); got != pair.Leaf.SerialNumber.String() {
			t.Errorf("got certificate %s, want the last one that was of use", got)
		}
	}
	if n := j.count("level=ERROR"); n != 1 {
		t.Errorf("got %d Error lines, want 1: %s", n, j)
	}
	copyFile(t, filepath.Join(fresh, ServerKey), cfg.Key)
	time.Sleep(lookEvery + 100*time.Millisecond)
	serial()
	if n := j.count("the certificate has changed"); n != 2 {
		t.Errorf("got %d lines of a change, want 2: %s", n, j)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClientAuth connects with the right certificate, the one of a stranger, and none.
func TestClientAuth(t *testing.T) {
	dir, cfg := selfSigned(t)
	stranger := t.TempDir()
	right, foreign := clientPair(t, dir, "alice"), clientPair(t, stranger, "alice")
	for _, tt := range []struct {
		mode                 string
		right, foreign, none bool // whether such a client gets in
		verifies             bool
	}{
		{"", true, false, false, true},
		{"require-and-verify-client-cert", true, false, false, true},
		{"verify-client-cert-if-given", true, false, true, true},
		{"require-any-client-cert", true, true, false, false},
		{"request-client-cert", true, true, true, false},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			cfg := cfg
			cfg.ClientCAs, cfg.ClientAuth = []string{filepath.Join(dir, AuthorityCert)}, tt.mode
			if got := cfg.VerifiesClients(); got != tt.verifies {
				t.Errorf("got %v, want %v", got, tt.verifies)
			}
			addr := listen(t, cfg, slog.New(slog.DiscardHandler))
			for _, client := range []struct {
				name string
				pair *tls.Certificate
				in   bool
			}{{"right", right, tt.right}, {"foreign", foreign, tt.foreign}, {"none", nil, tt.none}} {
				conf := trusting(t, dir)
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if client.pair == nil {
						return new(tls.Certificate), nil
					}
					return client.pair, nil
				}
				if _, err := dial(addr, conf); (err == nil) != client.in {
					t.Errorf("%s: got %v, want in %v", client.name, err, client.in)
				}
			}
		})
	}
}

// clientPair makes a certificate of a client that the authority of dir has signed.
func clientPair(t *testing.T, dir, user string) *tls.Certificate {
	t.Helper()
	if err := SignClient(dir, user, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, user+".crt"), filepath.Join(dir, user+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// TestSelfSign looks at what is made, and at what is kept.
func TestSelfSign(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	hosts := []string{"registry.example.com", "10.0.0.7", "::1", strings.Repeat("long.", 20) + "example.com"}
	if err := SelfSign(dir, hosts, 24*time.Hour, false); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{AuthorityCert: 0o644, AuthorityKey: 0o600, ServerCert: 0o644, ServerKey: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got %v, %v, want mode %o", name, info, err, mode)
		}
	}
	pool := trusting(t, dir).RootCAs
	before := leaf(t, dir)
	for _, host := range hosts {
		if _, err := before.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := before.Verify(x509.VerifyOptions{Roots: pool, DNSName: "registry.example.org"}); err == nil {
		t.Error("the certificate is good for a host that it was not made for")
	}
	if _, err := before.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: time.Now().Add(25 * time.Hour)}); err == nil {
		t.Error("the certificate is good for longer than it was to be")
	}

	if err := SelfSign(dir, hosts, time.Hour, false); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), ServerCert) {
		t.Errorf("got %v, want an error that names the file that is there", err)
	}
	if leaf(t, dir).SerialNumber.Cmp(before.SerialNumber) != 0 {
		t.Error("the certificate was replaced")
	}
	if err := SelfSign(dir, []string{"second.example.com"}, time.Hour, true); err != nil {
		t.Fatal(err)
	}
	if _, err := leaf(t, dir).Verify(x509.VerifyOptions{Roots: pool, DNSName: "second.example.com"}); err != nil {
		t.Errorf("clients do not trust the second certificate: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func leaf(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, ServerCert), filepath.Join(dir, ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// TestMistakes has one line for each, which names the key.
func TestMistakes(t *testing.T) {
	dir, cfg := selfSigned(t)
	authority := []string{filepath.Join(dir, AuthorityCert)}
	other := t.TempDir()
	if err := SelfSign(other, []string{"localhost"}, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	with := func(change func(c *Config)) Config { c := cfg; change(&c); return c }
	for i, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Certificate: "a"}, "http_tls_key"},
		{Config{Key: "a"}, "http_tls_certificate"},
		{with(func(c *Config) { c.ACMECache = "x" }), "both set"},
		{Config{ACMECache: "x"}, "http_tls_letsencrypt_hosts"},
		{Config{ACMEHosts: []string{"a"}}, "http_tls_letsencrypt_cachefile"},
		{Config{ClientCAs: authority}, "http_tls_clientcas"},
		{with(func(c *Config) { c.ClientAuth = "request-client-cert" }), "http_tls_clientauth"},
		{with(func(c *Config) { c.ClientCAs, c.ClientAuth = authority, "perhaps" }), `"perhaps"`},
		{with(func(c *Config) { c.MinimumTLS = "tls1.1" }), "http_tls_minimumtls"},
		{with(func(c *Config) { c.CipherSuites = []string{"TLS_RSA_WITH_RC4_128_SHA"} }), "http_tls_ciphersuites"},
		{with(func(c *Config) { c.ClientCAs = []string{c.Key} }), "no certificate in PEM"},
		{with(func(c *Config) { c.Certificate = dir + "/nope" }), "http_tls_certificate: "},
		{with(func(c *Config) { c.Key = dir + "/nope" }), "http_tls_key: "},
		{with(func(c *Config) { c.Key = filepath.Join(other, ServerKey) }), "does not match"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, err := Open(tt.cfg, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
		})
	}
	if conf, err := Open(Config{}, nil); conf != nil || err != nil {
		t.Errorf("got %v, %v, want no TLS", conf, err)
	}
}

// TestProofNeedsNoCertificate connects as an ACME authority does to a server that asks clients for certificates: it gets
// to see what proves the host, and no more.
func TestProofNeedsNoCertificate(t *testing.T) {
	dir, _ := selfSigned(t)
	addr := listen(t, Config{ACMECache: t.TempDir(), ACMEHosts: []string{"registry.example.com"}, ACMEDirectory: "http://127.0.0.1:1",
		ClientCAs: []string{filepath.Join(dir, AuthorityCert)}}, slog.New(slog.DiscardHandler))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = tls.Client(conn, &tls.Config{ServerName: "registry.example.com", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}).Handshake()
	if err == nil || strings.Contains(err.Error(), "certificate required") || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("got %v, want that there is nothing to prove", err)
	}
}

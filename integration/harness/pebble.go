package harness

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A Pebble is the test server of Let's Encrypt: an ACME authority, to which all hosts are this machine.
type Pebble struct {
	*Server
	Directory string // URL
	CA        string // file with what the directory's own certificate is signed by
	Target    string // host:port where it expects the server that says to be a host
}

// StartPebble starts an ACME authority.
func StartPebble(t testing.TB) *Pebble {
	t.Helper()
	program, dns := Tool(t, "pebble"), Tool(t, "pebble-dns")
	dir := t.TempDir()
	if out, status := RunParfait(t, Options{}, "cert", "self-signed", "--dir", dir, "127.0.0.1"); status != 0 {
		t.Fatal(out)
	}
	names := freeUDP(t)
	start(t, command{name: "pebble-dns", ready: listens, args: func(addr string) []string {
		return []string{dns, "-management", addr, "-dns01", names, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""}
	}}, "")
	p := &Pebble{CA: filepath.Join(dir, "ca.crt"), Target: freeAddr(t)}
	target, err := strconv.Atoi(port(p.Target))
	if err != nil {
		t.Fatal(err)
	}
	management := freeAddr(t)
	config := filepath.Join(dir, "pebble.json")
	p.Server = start(t, command{
		name: "pebble",
		args: func(addr string) []string {
			text, err := json.Marshal(map[string]any{"pebble": map[string]any{
				"listenAddress": addr, "managementListenAddress": management, "tlsPort": target, "httpPort": target,
				"certificate": filepath.Join(dir, "domain.crt"), "privateKey": filepath.Join(dir, "domain.key"),
				"profiles": map[string]any{"default": map[string]any{"description": "as usual", "validityPeriod": 7776000}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, text, 0o644); err != nil {
				t.Fatal(err)
			}
			return []string{program, "-config", config, "-dnsserver", names}
		},
		env:   func(string) []string { return []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20"} },
		ready: listens,
	}, "")
	p.URL = "https://" + management
	p.Directory = "https://" + p.Server.Addr + "/dir"
	return p
}

// Roots are what clients have to trust.
func (p *Pebble) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	own, err := os.ReadFile(p.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(own)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(p.URL + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	root, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatalf("pebble has no root: %s %s", resp.Status, root)
	}
	return pool
}

// freeUDP is an address for a server of names. Another process could take its port before that does.
func freeUDP(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

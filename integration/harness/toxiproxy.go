package harness

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// A Toxiproxy is a server whose proxies pass on connections, and spoil them when told to. It forgets them when it ends.
type Toxiproxy struct{ *Server }

// StartToxiproxy starts toxiproxy, which is up at once.
func StartToxiproxy(t testing.TB) *Toxiproxy {
	t.Helper()
	program := Tool(t, "toxiproxy")
	return &Toxiproxy{start(t, command{
		name: "toxiproxy",
		args: func(addr string) []string {
			return []string{program, "-host", "127.0.0.1", "-port", port(addr)}
		},
		ready: answers("/version"),
	}, "")}
}

// A Proxy stands before a server. What a method adds holds for the connections that there are and for those to come,
// until the function that it returns is called, which may be called again.
type Proxy struct {
	Addr string // host:port

	t   testing.TB
	url string // of the proxy itself
}

// A Stream is one way through a Proxy.
type Stream string

const (
	Upstream   Stream = "upstream"   // what clients send
	Downstream Stream = "downstream" // what they get
)

// Proxy starts a proxy before the server on upstream, a host:port. It ends with the toxiproxy.
func (x *Toxiproxy) Proxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	name := fresh()
	p := &Proxy{Addr: freeAddr(t), t: t, url: x.URL + "/proxies/" + name}
	p.tell(http.MethodPost, x.URL+"/proxies", map[string]any{"name": name, "listen": p.Addr, "upstream": upstream, "enabled": true})
	return p
}

// Disable has the proxy refuse connections, and cuts those that there are.
func (p *Proxy) Disable() {
	p.t.Helper()
	p.tell(http.MethodPost, p.url, map[string]any{"enabled": false})
}

// Enable has the proxy take connections again.
func (p *Proxy) Enable() {
	p.t.Helper()
	p.tell(http.MethodPost, p.url, map[string]any{"enabled": true})
}

// Latency holds data back for d.
func (p *Proxy) Latency(s Stream, d time.Duration) (remove func()) {
	p.t.Helper()
	return p.add("latency", s, map[string]any{"latency": d.Milliseconds()})
}

// ResetPeer cuts a connection with a TCP reset after d; with d 0 as soon as data comes.
func (p *Proxy) ResetPeer(s Stream, d time.Duration) (remove func()) {
	p.t.Helper()
	return p.add("reset_peer", s, map[string]any{"timeout": d.Milliseconds()})
}

// Timeout lets no data through and closes a connection after d; with d 0 never before it is removed.
func (p *Proxy) Timeout(s Stream, d time.Duration) (remove func()) {
	p.t.Helper()
	return p.add("timeout", s, map[string]any{"timeout": d.Milliseconds()})
}

// LimitData closes a connection after n bytes.
func (p *Proxy) LimitData(s Stream, n int64) (remove func()) {
	p.t.Helper()
	return p.add("limit_data", s, map[string]any{"bytes": n})
}

// Bandwidth lets n bytes through in a second, in whole thousands.
func (p *Proxy) Bandwidth(s Stream, n int64) (remove func()) {
	p.t.Helper()
	return p.add("bandwidth", s, map[string]any{"rate": n / 1000})
}

// Add adds a toxic, as toxiproxy calls a fault.
func (p *Proxy) add(kind string, s Stream, attributes map[string]any) (remove func()) {
	p.t.Helper()
	name := fresh()
	p.tell(http.MethodPost, p.url+"/toxics", map[string]any{"name": name, "type": kind, "stream": s, "attributes": attributes})
	gone := false
	return func() {
		p.t.Helper()
		if !gone {
			p.tell(http.MethodDelete, p.url+"/toxics/"+name, nil)
			gone = true
		}
	}
}

// Tell sends toxiproxy a request.
func (p *Proxy) tell(method, url string, body any) {
	p.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx := context.WithoutCancel(p.t.Context()) // a fault may be removed in t.Cleanup
	if _, _, err := ask(ctx, method, url, nil, string(text)); err != nil {
		p.t.Fatal(err)
	}
}

package harness

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// Balance starts a proxy before servers that hands each request to the next one, whoever had the last one of that
// client, and whether that runs. It asks nobody else then: what a server does not answer is 502, or a connection that is
// cut. It ends with the test; its Server has no PID, and no log.
func Balance(t testing.TB, servers ...*Server) *Server {
	t.Helper()
	targets := make([]*url.URL, len(servers))
	for i, s := range servers {
		target, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		targets[i] = target
	}
	var requests atomic.Uint64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(targets[requests.Add(1)%uint64(len(targets))])
			pr.Out.Host = pr.In.Host // so that the server points clients here
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		ErrorLog:  log.New(io.Discard, "", 0), // a server that is gone is no news
	})
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return Running(strings.TrimPrefix(proxy.URL, "http://"))
}

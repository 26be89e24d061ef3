package index_test

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A wire stands between the index and PostgreSQL, counts round trips and breaks connections.
type wire struct {
	url   string // of the database behind it
	trips atomic.Int64

	// cut is how many more answers come through before one that breaks the connection in its stead. Those on new
	// connections come through again.
	cut atomic.Int64
}

// newWire begins to listen for connections to database.
func newWire(t testing.TB, database string) *wire {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	w := &wire{url: u.String()}
	w.cut.Store(-1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { w.pass(t, client, server) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return w
}

// pass passes data on until one side closes.
func (w *wire) pass(t testing.TB, client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer server.Close()
	var asking atomic.Bool // whether the last to speak was the client
	go func() {
		defer server.Close()
		copyData(server, client, func() bool {
			if !asking.Swap(true) {
				w.trips.Add(1)
			}
			return true
		})
	}()
	copyData(client, server, func() bool { return !asking.Swap(false) || w.cut.Add(-1) != -1 })
}

// copyData copies from src to dst for as long as goOn, which is asked before each write, is true.
func copyData(dst, src net.Conn, goOn func() bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 && !goOn() || err != nil {
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

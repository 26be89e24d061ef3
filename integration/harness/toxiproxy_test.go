package harness_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

func TestToxiproxy(t *testing.T) {
	t.Parallel()
	x := harness.StartToxiproxy(t)
	upstream := echo(t)
	for name, test := range map[string]func(*testing.T, *harness.Proxy){
		"latency": testLatency, "reset": testReset, "timeout": testTimeout, "limit": testLimit, "bandwidth": testBandwidth,
		"disable": testDisable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, x.Proxy(t, upstream))
		})
	}
}

func testLatency(t *testing.T, p *harness.Proxy) {
	const delay = 300 * time.Millisecond
	conn := dial(t, p)
	roundTrip(t, conn) // so that the fault meets a connection that there is
	remove := p.Latency(harness.Downstream, delay)
	if took := roundTrip(t, conn); took < delay {
		t.Errorf("got an answer after %v, want %v", took, delay)
	}
	remove()
	remove()
	if took := roundTrip(t, conn); took >= delay {
		t.Errorf("got an answer after %v, without latency any more", took)
	}
}

func testReset(t *testing.T, p *harness.Proxy) {
	remove := p.ResetPeer(harness.Downstream, 0)
	if _, err := answer(t, dial(t, p), 1); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	remove()
	roundTrip(t, dial(t, p))
}

func testTimeout(t *testing.T, p *harness.Proxy) {
	const limit = 200 * time.Millisecond
	defer p.Timeout(harness.Upstream, limit)()
	begin := time.Now()
	if n, err := answer(t, dial(t, p), 1); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d bytes, %v, want none", n, err)
	}
	if took := time.Since(begin); took < limit {
		t.Errorf("got the end after %v, want %v", took, limit)
	}
}

func testLimit(t *testing.T, p *harness.Proxy) {
	defer p.LimitData(harness.Downstream, 700)()
	if n, err := answer(t, dial(t, p), 1000); n != 700 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes, %v, want 700 and the end", n, err)
	}
}

func testBandwidth(t *testing.T, p *harness.Proxy) {
	defer p.Bandwidth(harness.Upstream, 200_000)()
	begin := time.Now()
	if n, err := answer(t, dial(t, p), 100_000); err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if took := time.Since(begin); took < 400*time.Millisecond {
		t.Errorf("got 100 kB after %v, at 200 kB/s", took)
	}
}

func testDisable(t *testing.T, p *harness.Proxy) {
	conn := dial(t, p)
	roundTrip(t, conn)
	p.Disable()
	if n, err := answer(t, conn, 1); n != 0 || err == nil {
		t.Errorf("got %d bytes, %v, on a connection to a proxy that is off", n, err)
	}
	if _, err := net.Dial("tcp", p.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: got %v, want refused", err)
	}
	p.Enable()
	roundTrip(t, dial(t, p))
}

// Echo starts a server that sends back what it gets, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the listener is closed
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // it ends with the client, well or not
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *harness.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Answer sends n bytes and reads as many back. It returns how many came.
func answer(t *testing.T, conn net.Conn, n int) (int, error) {
	t.Helper()
	if _, err := conn.Write(bytes.Repeat([]byte("x"), n)); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, make([]byte, n))
}

// RoundTrip is how long a byte takes to the server and back.
func roundTrip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := answer(t, conn, 1); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

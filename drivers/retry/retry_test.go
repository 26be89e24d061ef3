package retry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

var (
	errPassing = errors.New("passing")
	errLasting = errors.New("lasting")
)

func passing(err error) bool { return errors.Is(err, errPassing) }

func TestDo(t *testing.T) {
	for _, tt := range []struct {
		name  string
		errs  []error // of each try; nil after them
		want  error
		tries int
	}{
		{"at once", nil, nil, 1},
		{"the third time", []error{errPassing, errPassing}, nil, 3},
		{"what lasts", []error{errLasting}, errLasting, 1},
		{"what lasts after what passes", []error{errPassing, errLasting}, errLasting, 2},
		{"the last time", []error{errPassing, errPassing, errPassing, errPassing, errPassing}, nil, 6},
		{"too late", []error{errPassing, errPassing, errPassing, errPassing, errPassing, errPassing}, errPassing, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := retry.Do(t.Context(), passing, func() error {
					tries++
					if tries > len(tt.errs) {
						return nil
					}
					return tt.errs[tries-1]
				})
				if err != tt.want || tries != tt.tries {
					t.Errorf("got %v after %d tries, want %v after %d", err, tries, tt.want, tt.tries)
				}
			})
		})
	}
}

func TestDo_Cancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		tries := 0
		fail := func(err error) func() error {
			return func() error { tries++; time.Sleep(2 * time.Nanosecond); return err }
		}
		err := retry.Do(ctx, passing, fail(errPassing))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errPassing) || tries != 1 {
			t.Errorf("got %v after %d tries, want both the deadline and what failed after 1", err, tries)
		}
		if err := retry.Do(ctx, passing, fail(errLasting)); err != errLasting {
			t.Errorf("an answer after the end of the context: got %v, want it", err)
		}
		if err := retry.Do(ctx, passing, fail(nil)); err != nil {
			t.Errorf("success after the end of the context: got %v", err)
		}
	})
}

func TestDelay(t *testing.T) {
	for n, longest := range map[int]time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1600, 6: 2000, 50: 2000} {
		longest *= time.Millisecond
		var most time.Duration
		for range 1000 {
			d := retry.Delay(n)
			if d <= 0 || d > longest {
				t.Fatalf("delay %d: got %v, want up to %v", n, d, longest)
			}
			most = max(most, d)
		}
		if most < longest/2 {
			t.Errorf("delay %d: at most %v of a thousand, want some near %v", n, most, longest)
		}
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for n := 1; n < retry.Attempts; n++ {
			if err := retry.Pause(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took <= 0 || took > 3100*time.Millisecond+retry.Attempts {
			t.Errorf("all pauses took %v, want up to 3.1s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start = time.Now()
		if err := retry.Pause(ctx, 5); err != context.Canceled || time.Since(start) != 0 {
			t.Errorf("with a cancelled context: got %v after %v", err, time.Since(start))
		}
	})
}

// do sends a request over a transport of its own.
func do(ctx context.Context, url string) error {
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, ResponseHeaderTimeout: 100 * time.Millisecond}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// serve answers each connection with f.
func serve(t *testing.T, f func(net.Conn)) string {
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
				return
			}
			go f(conn)
		}
	}()
	return l.Addr().String()
}

// answer reads a request and sends text before it ends the connection, by a reset if that is wanted.
func answer(text string, reset bool) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, text)
		if reset {
			time.Sleep(10 * time.Millisecond) // for the text to arrive first
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

func TestTransient(t *testing.T) {
	quiet := log.New(io.Discard, "", 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	request := func(addr string) error { return do(t.Context(), "http://"+addr) }

	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"connection refused", request(closed.Addr().String()), true},
		{"closed without an answer", request(serve(t, answer("", false))), true},
		{"reset without an answer", request(serve(t, answer("", true))), true},
		{"no answer in time", request(serve(t, func(net.Conn) {})), true},
		{"half of a body", request(serve(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false))), true},
		{"reset in a body", request(serve(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true))), true},
		{"half of a chunked body", request(serve(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false))), true},
		{"no host", do(t.Context(), "http://none.invalid"), true},
		{"broken pipe", &net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}, true},
		{"end of file", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},

		{"cancelled", do(cancelled, plain.URL), false},
		{"https to http", do(t.Context(), "https://"+plain.Listener.Addr().String()), false},
		{"unknown authority", do(t.Context(), secure.URL), false},
		{"other host", otherHost(t, secure), false},
		{"refused handshake", refusedHandshake(t), false},
		{"no TLS", tls.RecordHeaderError{Msg: "not TLS"}, false},
		{"no port", do(t.Context(), "http://127.0.0.1:99999"), false},
		{"something else", errLasting, false},
		{"none", nil, false},
	} {
		if tt.err == nil && tt.name != "none" {
			t.Errorf("%s: there was no error", tt.name)
		}
		if got := retry.Transient(tt.err); got != tt.want {
			t.Errorf("%s: got %v for %v (%T), want %v", tt.name, got, tt.err, tt.err, tt.want)
		}
		if wrapped := fmt.Errorf("open: %w", tt.err); tt.err != nil && retry.Transient(wrapped) != tt.want {
			t.Errorf("%s: another answer when it is wrapped", tt.name)
		}
	}
}

// otherHost asks a server by a name that its certificate does not have.
func otherHost(t *testing.T, s *httptest.Server) error {
	t.Helper()
	client := s.Client()
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "other.invalid"
	resp, err := client.Get(s.URL)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// refusedHandshake speaks a version of TLS that the server does not want.
func refusedHandshake(t *testing.T) error {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	resp, err := client.Get(s.URL)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

func TestStatus(t *testing.T) {
	for code, want := range map[int]bool{200: false, 301: false, 400: false, 403: false, 404: false, 408: true, 409: false,
		412: false, 416: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false, 507: false} {
		if got := retry.Status(code); got != want {
			t.Errorf("%d: got %v, want %v", code, got, want)
		}
	}
}

func TestUnavailable(t *testing.T) {
	err := retry.Unavailable(errPassing)
	if !errors.Is(err, drivers.ErrUnavailable) || !errors.Is(err, errPassing) || !strings.Contains(err.Error(), "passing") {
		t.Errorf("got %v, want it to wrap both", err)
	}
}

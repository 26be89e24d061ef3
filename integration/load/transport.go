package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A transport makes requests over HTTP/1.1 on connections that it keeps. The client takes of the CPU that the servers
// under test share, so it is a lean one: where [http.Transport] hands a request to two goroutines and back, the caller
// writes the request here and reads the answer. So an answer that comes before the request's end is read after it.
type transport struct {
	mu   sync.Mutex
	idle map[string][]*wire // mu guards idle: by scheme and host, with the one used last at the end
}

func newTransport() *transport { return &transport{idle: make(map[string][]*wire)} }

// A wire is a connection to a server, with one request at a time.
type wire struct {
	net.Conn
	from string // key of idle
	in   *bufio.Reader
	out  *bufio.Writer
	used bool // whether there was a request before, so that the server may have closed it meanwhile
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		w, err := t.wire(req)
		if err != nil {
			return nil, err
		}
		resp, err := t.exchange(w, req)
		if err == nil {
			return resp, nil
		}
		w.Close()
		if ctx := req.Context(); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !w.used {
			return nil, err
		}
		if req.GetBody != nil {
			req = req.Clone(req.Context())
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// wire returns an idle connection or a new one.
func (t *transport) wire(req *http.Request) (*wire, error) {
	from := req.URL.Scheme + "://" + req.URL.Host
	if w := t.take(from); w != nil {
		return w, nil
	}
	addr, dial := req.URL.Host, (&net.Dialer{}).DialContext
	if req.URL.Scheme == "https" {
		dial = (&tls.Dialer{}).DialContext
	}
	if req.URL.Port() == "" {
		addr = net.JoinHostPort(req.URL.Hostname(), req.URL.Scheme) // which the system knows the port of
	}
	conn, err := dial(req.Context(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, from: from, in: bufio.NewReader(conn), out: bufio.NewWriterSize(conn, 64<<10)}, nil
}

func (t *transport) take(from string) *wire {
	t.mu.Lock()
	defer t.mu.Unlock()
	idle := t.idle[from]
	if len(idle) == 0 {
		return nil
	}
	t.idle[from] = idle[:len(idle)-1]
	return idle[len(idle)-1]
}

func (t *transport) keep(w *wire) {
	w.used = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[w.from] = append(t.idle[w.from], w)
}

// CloseIdleConnections is called by [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, idle := range t.idle {
		for _, w := range idle {
			w.Close()
		}
	}
	clear(t.idle)
}

// exchange sends a request and reads the answer's header. The end of the answer's body gives the connection back.
func (t *transport) exchange(w *wire, req *http.Request) (*http.Response, error) {
	alive := context.AfterFunc(req.Context(), func() { w.SetDeadline(time.Unix(1, 0)) })
	unsent := cmp.Or(req.Write(w.out), w.out.Flush())
	resp, err := http.ReadResponse(w.in, req) // there may be one that says why the server would not read on
	if err != nil {
		alive()
		return nil, cmp.Or(unsent, err)
	}
	resp.Body = &answer{ReadCloser: resp.Body, end: func(whole bool) {
		if alive() && whole && unsent == nil && !resp.Close {
			t.keep(w)
		} else {
			w.Close()
		}
	}}
	return resp, nil
}

// An answer is the body of a response. End is called once, at its end or when it is closed before.
type answer struct {
	io.ReadCloser
	end   func(whole bool)
	ended bool
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err == io.EOF {
		a.finish(true)
	}
	return n, err
}

func (a *answer) Close() error {
	a.finish(false)
	return nil
}

func (a *answer) finish(whole bool) {
	if !a.ended {
		a.ended = true
		a.end(whole)
	}
}

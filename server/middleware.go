package server

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/parfait-registry/parfait/access"
)

// A middleware wraps a handler with another one.
type middleware func(http.Handler) http.Handler

// chain wraps h, the first middleware being the outermost.
func chain(h http.Handler, outermostFirst ...middleware) http.Handler {
	for i := len(outermostFirst) - 1; i >= 0; i-- {
		h = outermostFirst[i](h)
	}
	return h
}

// A response counts what is written, for the access log and to know whether an error can still be answered.
type response struct {
	http.ResponseWriter
	client access.Client // who asked, once that is known
	origin origin        // how he came
	status int           // 0 until the header is written
	bytes  int64         // of the body
	err    error         // why the request failed, unless that is in the log already
	gone   bool          // the client left before it had its answer
	cut    bool          // the answer was broken off

	context    requestContext
	endpoint   *endpoint // nil if the path has none, or was not looked at
	repository string    // the {name...} in the path, with its escapes, if any: no name has a %
	param      string    // the parameter in the path
	received   int64     // bytes of the body of the request
	traced     func(Request)
}

// wrap returns w as a response.
func wrap(w http.ResponseWriter) *response {
	if rw, ok := w.(*response); ok {
		return rw
	}
	return &response{ResponseWriter: w}
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // those below announce the real one
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, w.failed(err)
}

// sendBuffers holds *[128 << 10]byte, for what comes from another server: in larger pieces than package net would take.
var sendBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// ReadFrom lets the connection take a file by sendfile.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || !isFile(src) {
		buf := sendBuffers.Get().(*[128 << 10]byte)
		defer sendBuffers.Put(buf)
		return io.CopyBuffer(struct{ io.Writer }{w}, src, buf[:])
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := rf.ReadFrom(src)
	w.bytes += n
	return n, w.failed(err)
}

// isFile reports whether package net can send what [io.CopyN] reads without copying it.
func isFile(src io.Reader) bool {
	if l, ok := src.(*io.LimitedReader); ok {
		src = l.R
	}
	c, ok := src.(syscall.Conn)
	if !ok {
		return false
	}
	_, err := c.SyscallConn()
	return err == nil
}

// failed keeps the first error, since http.ServeContent drops it.
func (w *response) failed(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// logRequest logs the one line of a request that is over. Probes that went well come every few seconds, and tell nothing.
func (s *Server) logRequest(w *response, r *http.Request, status int, took time.Duration) {
	level := slog.LevelInfo
	if IsProbe(r.URL.Path) && status < http.StatusBadRequest && w.err == nil && !w.cut {
		level = slog.LevelDebug
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs,
		slog.String("method", r.Method),
		slog.String("path", clip(r.URL.Path)),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("duration", took.Round(time.Microsecond)),
		slog.String("remote", w.remote(r)),
		slog.String("user_agent", clip(r.UserAgent())),
	)
	if user := w.client.User(); user != "" {
		attrs = append(attrs, slog.String("user", clip(user)))
	}
	if w.err != nil {
		attrs = append(attrs, slog.Any("err", w.err))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// clip bounds what a client makes the log hold.
func clip(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// recoverPanics answers a request whose handler panicked with 500, or cuts it off if the answer has begun.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := wrap(w)
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.writeError(rw, r, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}()
		next.ServeHTTP(rw, r)
	})
}

// The values of headers that every answer has. They are never written to.
var (
	nosniff    = []string{"nosniff"}
	apiVersion = []string{"registry/2.0"}
)

// setCommonHeaders sets what every answer has, whatever becomes of it.
func setCommonHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"] = nosniff
		if p := r.URL.Path; strings.HasPrefix(p, "/v2/") || p == "/v2" {
			h["Docker-Distribution-Api-Version"] = apiVersion
		}
		next.ServeHTTP(w, r)
	})
}

// refuseWhileDraining counts the requests in flight, and answers new ones with 503 once [Server.Drain] was called.
func (s *Server) refuseWhileDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.inFlight.Add(1)
		defer func() {
			if s.inFlight.Add(-1) == 0 {
				select {
				case s.idle <- struct{}{}:
				default:
				}
			}
		}()
		if s.draining.Load() && !s.finishes(r) {
			w.Header().Set("Connection", "close")
			s.writeError(wrap(w), r, errDraining)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// finishes reports whether r is answered although the server drains.
func (s *Server) finishes(r *http.Request) bool {
	path, _ := routePath(r.URL)
	e, _, _ := s.router.find(path)
	if e == nil {
		return false
	}
	rt := e.route(r.Method)
	return rt != nil && rt.drain
}

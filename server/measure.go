package server

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// A Request is what there is to say of a request when it is over.
type Request struct {
	Method     string
	Route      string // the pattern of the path; empty if it matches none
	Repository string // as the client wrote it; empty if the path has none
	Status     int    // 499 if the client left before it had its answer
	Cut        bool   // the answer failed after its first byte, and was broken off
	In, Out    int64  // bytes of the bodies
	Duration   time.Duration

	// For who traces: how the client came, as far as it can be known, and its address. Not valid if that is not known.
	Scheme string
	Client netip.Addr
}

// account tells of each request when it is over: the log, and who measures or traces.
func (s *Server) account(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := wrap(w)
		start := time.Now()
		if s.cfg.Trace != nil {
			var ctx context.Context
			ctx, rw.traced = s.cfg.Trace(r)
			r = r.WithContext(ctx)
		}
		defer s.tell(rw, r, start) // also when a panic cuts the connection
		next.ServeHTTP(rw, r)
	})
}

func (s *Server) tell(w *response, r *http.Request, start time.Time) {
	took := time.Since(start)
	status := w.status
	switch {
	case w.gone:
		status = statusClientGone
	case status == 0:
		status = http.StatusOK
	}
	s.logRequest(w, r, status, took)
	q := Request{Method: r.Method, Repository: w.repository, Status: status, Cut: w.cut, In: w.received, Out: w.bytes, Duration: took}
	measure := s.router.measure
	if w.endpoint != nil {
		q.Route, measure = w.endpoint.pattern, w.endpoint.measure
	}
	if measure != nil {
		measure(q)
	}
	if w.traced != nil {
		q.Scheme, q.Client = w.scheme(r), w.clientAddr(r)
		w.traced(q)
	}
}

// InFlight returns how many requests are under way.
func (s *Server) InFlight() int64 { return s.inFlight.Load() }

// metrics answers with the metrics of whoever measures.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	s.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

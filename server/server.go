// Package server answers HTTP: the OCI distribution API under /v2/, what today's clients still ask of the API before
// it under /v1/, a page for people at /, and /healthz, /readyz and /metrics for whoever runs it.
//
// [New] makes a [Server] over a registry; it is an [net/http.Handler]. A handler parses names, references, digests and
// ranges into types, calls package registry once and writes the answer; an error goes back to one place that knows
// the status of each code. An answer that fails after its first byte is cut off, so that a short body is never taken
// for a whole one.
package server

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
)

// A Server answers the requests of a registry's clients. It is safe for concurrent use.
type Server struct {
	cfg     Config
	reg     *registry.Registry
	guard   *access.Guard
	log     *slog.Logger
	router  router
	handler http.Handler
	html    *template.Template
	trusted []netip.Prefix // where proxies are whose word is taken
	limits  limits

	*drain
}

// A drain is what a server, and those that [Server.With] makes of it, need to end in order.
type drain struct {
	draining atomic.Bool
	inFlight atomic.Int64
	idle     chan struct{} // gets a token, if it has none, whenever inFlight falls to 0
}

// New returns a server over reg. A nil guard lets everybody do everything. A nil log discards what is logged.
func New(cfg Config, reg *registry.Registry, guard *access.Guard, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return newServer(cfg, reg, guard, log, limits{}, &drain{idle: make(chan struct{}, 1)})
}

// With returns a server with another configuration and guard, over the same registry. Both drain and wait as one, so that
// requests may be handed to either of them at any time, and count as one where they have the same limits.
func (s *Server) With(cfg Config, guard *access.Guard) *Server {
	return newServer(cfg, s.reg, guard, s.log, s.limits, s.drain)
}

func newServer(cfg Config, reg *registry.Registry, guard *access.Guard, log *slog.Logger, before limits, d *drain) *Server {
	s := &Server{
		cfg:   cfg.WithDefaults(),
		reg:   reg,
		guard: guard,
		log:   log,
		html:  template.Must(template.New("index").Parse(indexHTML)),
		drain: d,
	}
	s.trusted, _ = parseProxies(cfg.TrustedProxies) // Config.Check tells mistakes
	s.limits = newLimits(s.cfg, before)
	s.router = newRouter(s.routes(), s.cfg.Measure)
	s.handler = chain(http.HandlerFunc(s.dispatch), s.middleware()...)
	return s
}

// middleware lists what every request passes, outermost first. What is off costs nothing.
func (s *Server) middleware() []middleware {
	all := []middleware{
		identify,
		s.account, // sees how every request ended
		s.recoverPanics,
		s.readProxies,
		setCommonHeaders,
	}
	if len(s.cfg.CORS.Origins) > 0 {
		all = append(all, s.answerOrigins)
	}
	if s.limits.addresses != nil {
		all = append(all, s.limitAddresses)
	}
	return append(all, s.refuseWhileDraining)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes the server refuse new work with 503 from now on. Requests on an upload session, which a client may be
// in the middle of, are answered, and so is /healthz; /readyz is not, so that a load balancer looks elsewhere.
func (s *Server) Drain() { s.draining.Store(true) }

// Wait returns when no request is in flight, or with the error of ctx once that is done. Call [Server.Drain] before.
func (s *Server) Wait(ctx context.Context) error {
	for s.inFlight.Load() > 0 {
		select {
		case <-s.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// location makes path into what a Location header holds. It never has a query, which not every client keeps. Behind a proxy
// that does not say by which scheme it was asked, it is the path: that is right whatever the scheme.
func (s *Server) location(w http.ResponseWriter, r *http.Request, path string) string {
	o := wrap(w).origin
	if s.cfg.HTTPRelativeURLs || o.proxied && o.scheme == "" && !strings.Contains(s.cfg.HTTPHost, "://") {
		return path
	}
	return s.url(w, r, "http://", path)
}

// url makes path a URL on the host by which clients reach the registry. The scheme is plain if nothing else is known.
func (s *Server) url(w http.ResponseWriter, r *http.Request, plain, path string) string {
	o := wrap(w).origin
	scheme := plain
	switch {
	case o.scheme != "":
		scheme = o.scheme
	case r.TLS != nil:
		scheme = "https://"
	}
	switch host := strings.TrimRight(s.cfg.HTTPHost, "/"); {
	case strings.Contains(host, "://"):
		return host + path
	case host != "":
		return scheme + host + path
	case o.host != "":
		return scheme + o.host + path
	case r.Host == "": // HTTP/1.0
		return path
	default:
		return scheme + r.Host + path
	}
}

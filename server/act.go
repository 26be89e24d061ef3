package server

import (
	"cmp"
	"net/http"

	"github.com/parfait-registry/parfait/registry"
)

// acting returns the registry as the client of a request uses it, which is told of what the client changes.
func (s *Server) acting(w http.ResponseWriter, r *http.Request) *registry.Registry {
	if s.cfg.Witness == nil {
		return s.reg
	}
	rw := wrap(w)
	return s.reg.For(registry.Client{
		User:      rw.client.User(),
		Addr:      rw.remote(r),
		RequestID: RequestID(r.Context()),
		Method:    r.Method,
		Host:      cmp.Or(rw.origin.host, r.Host),
		UserAgent: clip(r.UserAgent()),
		Root:      s.url(rw, r, "http://", ""),
	}, s.cfg.Witness)
}

// pulled tells of what was sent to a client, or promised to one that only asks: HEAD is a pull, too, as it has always been
// to those who are told.
func (s *Server) pulled(w http.ResponseWriter, r *http.Request, act registry.Act) {
	if s.cfg.Witness != nil {
		s.acting(w, r).Pulled(act)
	}
}

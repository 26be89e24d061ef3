package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/parfait-registry/parfait/registry"
)

// readyTimeout bounds how long the store and the index may take to say that they are there.
const readyTimeout = 5 * time.Second

// IsProbe reports whether a path is one that programs ask from time to time to know how the server is.
func IsProbe(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/metrics" }

// live says that the process lives, as long as it does.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) error { return writeOK(w) }

// ready says that the store and the index answer, or why the registry is of no use.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.reg.Check(ctx); err != nil {
		return &registry.Error{Code: registry.Unavailable, Message: fmt.Sprintf("not ready: %v", err), Err: err}
	}
	return writeOK(w)
}

func writeOK(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := io.WriteString(w, "ok\n"); err != nil {
		return &sendError{err}
	}
	return nil
}

package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/parfait-registry/parfait/registry"
)

// accelerates reports whether nginx, which has passed a request on, sends the blob itself. Whoever else asks would take
// the answer for an empty blob.
func (s *Server) accelerates(w *response) bool {
	return s.cfg.NginxXAccelRedirect != "" && w.origin.trusted
}

// accelBlob tells nginx which file to send, and leaves ranges to it. That there is the file is looked at before, since
// nginx would say 404.
func (s *Server) accelBlob(w *response, r *http.Request, b registry.Blob) error {
	blob := s.reg.OpenBlob(r.Context(), b)
	defer blob.Close()
	if err := blob.Bound(0, b.Size); err != nil {
		return fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	h := w.Header()
	setContentHeaders(h, b.Digest, blobMaxAge)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Accel-Redirect", strings.TrimRight(s.cfg.NginxXAccelRedirect, "/")+"/"+s.reg.BlobKey(b))
	w.WriteHeader(http.StatusOK)
	return nil
}

package server

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/parfait-registry/parfait/access"
)

// Results of what the audit tells.
const (
	auditOK     = "ok"
	auditDenied = "denied" // it is not for this client
	auditFailed = "failed" // for another reason, or the credentials were wrong
)

// auditActions are what clients want by a scope, in the words of the audit.
var auditActions = map[scope]string{
	scopePull: "pull", scopePush: "push", scopeDelete: "delete", scopeCatalog: "catalog", scopeSearch: "search", scopePage: "page",
	scopeMetrics: "metrics",
}

// audit writes a line if a request was one that the audit tells: a push or a mount, a delete, a login that failed, or
// something that the client may not do. A question of /v2/ without credentials is none, since every client begins so; nor is
// what is refused to an address that sends too much, which would fill the audit. err is why the request failed, if that has
// not been answered yet.
func (s *Server) audit(w *response, r *http.Request, err error) {
	if err == nil && w.err == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return
	}
	path, _ := routePath(r.URL)
	e, name, param := s.router.find(path)
	if e == nil || e.route(r.Method) == nil {
		return
	}
	scope := e.route(r.Method).scope
	status := w.status
	switch {
	case err == nil:
		err = w.err
	case gone(r, err):
		status = statusClientGone
	default:
		status, _ = describe(err)
	}
	action, result := auditedAs(r, scope, status, err)
	if result == "" {
		return
	}
	user, _, _ := r.BasicAuth()
	if known := w.client.User(); known != "" {
		user = known
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("result", result), slog.Int("status", status), slog.String("user", clip(user)),
		slog.String("remote", w.remote(r)), slog.String("method", r.Method))
	for _, a := range []struct{ key, value string }{
		{"repository", name}, {"reference", param}, {"digest", w.Header().Get("Docker-Content-Digest")},
		{"from", r.URL.Query().Get("from")}, {"user_agent", r.UserAgent()},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, clip(a.value)))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", clip(err.Error())))
	}
	s.cfg.Audit.LogAttrs(r.Context(), slog.LevelInfo, action, attrs...)
}

// auditedAs returns what a request is to the audit. The result is "" if it is nothing.
func auditedAs(r *http.Request, scope scope, status int, err error) (action, result string) {
	action = auditActions[scope]
	switch {
	case errors.Is(err, access.ErrCredentials):
		if r.Header.Get("Authorization") == "" && r.Method != http.MethodPost && r.TLS == nil {
			return "", "" // a token was asked for without credentials
		}
		return "login", auditFailed
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		if action == "" {
			return "", ""
		}
		return action, auditDenied
	case scope == scopeDelete, scope == scopePush && r.Method == http.MethodPut, scope == scopePush && r.Method == http.MethodPost && err != nil:
	case scope == scopePush && r.Method == http.MethodPost && status == http.StatusCreated:
		if r.URL.Query().Has("mount") {
			action = "mount"
		}
	default:
		return "", ""
	}
	if err != nil {
		return action, auditFailed
	}
	return action, auditOK
}

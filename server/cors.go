package server

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORSConfig says what scripts of other web sites may ask for, in the words of the original registry.
type CORSConfig struct {
	// Origins are sites, such as https://ui.example.com or https://*.example.com; "*" is all. Default: none, and nothing
	// is said of the matter.
	Origins []string `yaml:"origins" flavor:"texts"`

	// Methods are those that a script may use. Default: all that there are.
	Methods []string `yaml:"methods" flavor:"texts"`

	// Headers are those that a script may send. Default: all.
	Headers []string `yaml:"headers" flavor:"texts"`

	// ExposeHeaders are those that a script may read besides the usual ones. Default: those of a registry.
	ExposeHeaders []string `yaml:"expose_headers" flavor:"texts"`

	// SupportsCredentials lets scripts send the cookies and the password that a browser has for this host.
	SupportsCredentials bool `yaml:"supports_credentials"`

	// MaxAge is for how long a browser need not ask again. Default: it decides.
	MaxAge time.Duration `yaml:"max_age"`

	// SendWildcard answers every site with "*" where all are allowed, instead of with its own name.
	SendWildcard bool `yaml:"send_wildcard"`
}

// corsMethods are those that any route has.
var corsMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// corsExposed are the headers of answers that are of use to a script.
var corsExposed = []string{"Docker-Content-Digest", "Docker-Distribution-Api-Version", "Docker-Upload-Uuid", "Link", "Location",
	"OCI-Filters-Applied", "OCI-Subject", "Range", "WWW-Authenticate"}

// answerOrigins tells browsers which scripts may read the answer, and answers when they ask beforehand, which they do
// without credentials.
func (s *Server) answerOrigins(next http.Handler) http.Handler {
	cfg := s.cfg.CORS
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !cfg.allows(origin) {
			next.ServeHTTP(w, r)
			return
		}
		if cfg.SendWildcard && !cfg.SupportsCredentials && slices.Contains(cfg.Origins, "*") {
			origin = "*"
		}
		h.Set("Access-Control-Allow-Origin", origin)
		if cfg.SupportsCredentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			cfg.permit(h, r)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h.Set("Access-Control-Expose-Headers", list(cfg.ExposeHeaders, corsExposed))
		next.ServeHTTP(w, r)
	})
}

// permit answers a browser that asks what a script may send.
func (c CORSConfig) permit(h http.Header, r *http.Request) {
	h.Set("Access-Control-Allow-Methods", list(c.Methods, corsMethods))
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Headers", list(c.Headers, []string{asked}))
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(c.MaxAge.Seconds())))
	}
}

// allows reports whether scripts of a site may ask.
func (c CORSConfig) allows(origin string) bool {
	return slices.ContainsFunc(c.Origins, func(pattern string) bool {
		ok, err := path.Match(pattern, origin) // * is anything without a slash, of which an origin has none behind ://
		return pattern == "*" || err == nil && ok
	})
}

// list writes texts, or those that are usual, as a header has them.
func list(texts, usual []string) string {
	if texts == nil {
		texts = usual
	}
	return strings.Join(texts, ", ")
}

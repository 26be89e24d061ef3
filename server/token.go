package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
)

// tokenPath is where clients get tokens, if they get them here.
const tokenPath = "/token"

// maxTokenForm bounds a request for a token, in bytes.
const maxTokenForm = 64 << 10

// A tokenAnswer has the names that the token specification and OAuth 2.0 have.
type tokenAnswer struct {
	Token        string    `json:"token"`
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type"`
	ExpiresIn    int       `json:"expires_in"` // seconds
	IssuedAt     time.Time `json:"issued_at"`
	Scope        string    `json:"scope"`
	RefreshToken string    `json:"refresh_token,omitempty"`
}

// getToken answers a GET for a token, with a user and password or without.
func (s *Server) getToken(w http.ResponseWriter, r *http.Request) error {
	client, err := s.client(r)
	if err == nil && client.HasToken() {
		err = access.ErrCredentials // a token is no way to another one
	}
	if err != nil {
		return s.refuseToken(w, r, err)
	}
	q := r.URL.Query()
	return s.grant(w, r, client, q.Get("service"), q["scope"], q.Get("offline_token") == "true", "")
}

// postToken answers OAuth 2.0's way of asking for a token, with a user and password in the form, or a refresh token.
func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(wrap(w).ResponseWriter, r.Body, maxTokenForm)
	if err := r.ParseForm(); err != nil {
		return writeOAuthError(w, http.StatusBadRequest, "invalid_request", "the body is not a form of at most 64 KiB")
	}
	form := r.PostForm
	var client access.Client
	var err error
	refresh := ""
	switch grant := form.Get("grant_type"); grant {
	case "password":
		client, err = s.guard.Login(r.Context(), form.Get("username"), form.Get("password"))
	case "refresh_token":
		refresh = form.Get("refresh_token")
		client, err = s.guard.Refresh(r.Context(), refresh)
	default:
		return writeOAuthError(w, http.StatusBadRequest, "unsupported_grant_type", "grant_type is neither password nor refresh_token")
	}
	if err != nil {
		return s.refuseToken(w, r, err)
	}
	return s.grant(w, r, client, form.Get("service"), form["scope"], form.Get("access_type") == "offline", refresh)
}

// grant answers with a token for what of the scopes the client may do. A client that came with a refresh token keeps
// that.
func (s *Server) grant(w http.ResponseWriter, r *http.Request, client access.Client, service string, scopes []string, offline bool, refresh string) error {
	wrap(w).client = client
	if service != "" && service != s.guard.Service() {
		return writeOAuthError(w, http.StatusBadRequest, "invalid_request", "the service is not the one of this registry")
	}
	g, err := s.guard.Issue(r.Context(), client, parseScopes(scopes), offline && refresh == "")
	switch {
	case errors.Is(err, access.ErrTooMuch):
		return writeOAuthError(w, http.StatusBadRequest, "invalid_scope", err.Error())
	case err != nil:
		return s.refuseToken(w, r, err)
	}
	granted := make([]string, len(g.Scopes))
	for i, scope := range g.Scopes {
		granted[i] = scope.String()
	}
	answer := tokenAnswer{Token: g.Token, AccessToken: g.Token, TokenType: "Bearer", ExpiresIn: int(g.Lifetime.Seconds()),
		IssuedAt: g.Issued, Scope: strings.Join(granted, " "), RefreshToken: g.RefreshToken}
	if offline && refresh != "" {
		answer.RefreshToken = refresh
	}
	w.Header()["Cache-Control"] = noStore
	return writeJSON(w, answer)
}

// noStore keeps tokens out of caches.
var noStore = []string{"no-store"}

// parseScopes reads scopes, of which one parameter may hold several. What is none is left out, as what may not be done
// is left out.
func parseScopes(parameters []string) (scopes []access.Scope) {
	for _, parameter := range parameters {
		for text := range strings.FieldsSeq(parameter) {
			if scope, err := access.ParseScope(text); err == nil {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes
}

// jwks answers with the keys of those who sign tokens here.
func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) error {
	data, err := s.guard.JWKS()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "max-age=60")
	return writeJSON(w, json.RawMessage(data))
}

// refuseToken answers a request for a token with credentials that are wrong or missing: in the words of the
// distribution-spec and of OAuth 2.0 at once, since clients read one or the other.
func (s *Server) refuseToken(w http.ResponseWriter, r *http.Request, err error) error {
	if !errors.Is(err, access.ErrCredentials) {
		return err
	}
	wrap(w).err = err // for the access log
	s.askPassword(w)
	message := "user name or password is wrong, or the refresh token is of no use any more"
	if r.Method != http.MethodPost && r.Header.Get("Authorization") == "" {
		message = "log in: authentication required" // docker pushes again for a minute if it is the last two words alone
	}
	return writeOAuthError(w, http.StatusUnauthorized, "invalid_grant", message)
}

// writeOAuthError answers with an error of OAuth 2.0.
func writeOAuthError(w http.ResponseWriter, status int, code, message string) error {
	spec := registry.Unsupported
	if status == http.StatusUnauthorized {
		spec = registry.Unauthorized
	}
	body, err := json.Marshal(struct {
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
		Errors      []errorItem `json:"errors"`
	}{code, message, []errorItem{{Code: spec, Message: message}}})
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		return &sendError{err}
	}
	return nil
}

package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// Faults that were found in other registries in 2026, each by its number, and looked for here.

// CVE-2026-41888: distribution deleted tags although deletes were disabled.
func TestDisabledDeletesCoverTags(t *testing.T) {
	j := new(journal)
	h := openWith(t, mem.New(), Config{}, registry.Config{DeleteDisabled: true}, j, j.logger())
	manifest, config, layer := h.pushImage("app", "v1", "layer")
	h.lock(access.Config{}, "alice")
	for _, target := range []string{"manifests/v1", "manifests/" + manifest.Digest.String(), "blobs/" + config.Digest.String(), "blobs/" + layer.Digest.String()} {
		if a := h.want(405, "DELETE", "/v2/app/"+target, nil, as("alice")...); strings.Join(a.codes(), "") != "UNSUPPORTED" {
			t.Errorf("%s: got %s", target, a.body)
		}
		h.want(200, "GET", "/v2/app/"+target, nil, as("alice")...)
	}
	if a := h.want(200, "GET", "/v2/app/tags/list", nil, as("alice")...); !strings.Contains(a.body, `"v1"`) {
		t.Errorf("got %s, want the tag", a.body)
	}
}

// CVE-2026-35172: in distribution a blob that was deleted from one repository came back there when another repository
// was asked for it.
func TestDeletedBlobStaysDeleted(t *testing.T) {
	h := open(t, mem.New(), Config{})
	blob := h.pushBlob("a", "a secret").Digest.String()
	h.want(201, "POST", "/v2/b/blobs/uploads/?mount="+blob+"&from=a", nil)
	for _, repo := range []string{"a", "b"} { // whatever is cached is
		h.want(200, "GET", "/v2/"+repo+"/blobs/"+blob, nil)
	}
	h.want(202, "DELETE", "/v2/a/blobs/"+blob, nil)
	for range 2 {
		for _, method := range []string{"HEAD", "GET"} {
			h.want(404, method, "/v2/a/blobs/"+blob, nil)
			h.want(200, method, "/v2/b/blobs/"+blob, nil)
		}
	}
	h.want(202, "POST", "/v2/c/blobs/uploads/?mount="+blob+"&from=a", nil)
}

// CVE-2026-61833: in zot a token to push was one to delete, since all methods that change something were taken for a push.
func TestPushIsNotDelete(t *testing.T) {
	h := open(t, mem.New(), Config{})
	manifest, _, layer := h.pushImage("app", "v1", "layer")
	h.lock(access.Config{Rules: []access.Rule{{Repositories: []string{"app"}, Users: []string{"alice"}, Actions: []string{"pull", "push"}}}}, "alice")
	for _, target := range []string{"manifests/v1", "manifests/" + manifest.Digest.String(), "blobs/" + layer.Digest.String()} {
		h.want(403, "DELETE", "/v2/app/"+target, nil, as("alice")...)
		h.want(200, "GET", "/v2/app/"+target, nil, as("alice")...)
	}
	h.want(202, "POST", "/v2/app/blobs/uploads/", nil, as("alice")...)

	n := newNotary(t)
	h.entrust(n, nil)
	token := n.token("alice", audience, time.Now().Add(time.Hour), access.Repository("app", access.Pull, access.Push))
	for _, target := range []string{"manifests/v1", "manifests/" + manifest.Digest.String(), "blobs/" + layer.Digest.String()} {
		a := h.want(401, "DELETE", "/v2/app/"+target, nil, token...)
		if got, want := a.header.Get("WWW-Authenticate"), bearerChallenge(scopeDelete, "app", "insufficient_scope"); got != want {
			t.Errorf("got challenge %s, want %s", got, want)
		}
		h.want(200, "GET", "/v2/app/"+target, nil, token...)
	}
	h.want(202, "POST", "/v2/app/blobs/uploads/", nil, token...)
}

// CVE-2026-33540: distribution, as a cache of another registry, sent its credentials to the address that a challenge of
// that registry named. Here nothing is fetched from elsewhere, so no credentials are sent; what comes closest are the
// addresses that a token may have of its key, and a challenge that names what the client says for itself.
func TestAddressesOfOthersAreNotFollowed(t *testing.T) {
	var visits atomic.Int64
	stranger := newNotary(t)
	data, err := os.ReadFile(stranger.jwks())
	if err != nil {
		t.Fatal(err)
	}
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		w.Write(data)
	}))
	defer trap.Close()
	h := open(t, mem.New(), Config{HTTPHost: "https://registry.example.com"})
	h.entrust(newNotary(t), func(cfg *access.Config) { cfg.TokenRealm, cfg.TokenAutoRedirect = "", true })
	for _, key := range []string{"jku", "x5u", "iss", "kid"} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: stranger.key}, (&jose.SignerOptions{}).WithHeader(jose.HeaderKey(key), trap.URL))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: "notary.example.com", Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		h.want(401, "GET", "/v2/", nil, "Authorization", "Bearer "+raw)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the address in a token was visited %d times", n)
	}
	evil := strings.TrimPrefix(trap.URL, "http://")
	r, w := httptest.NewRequest("GET", "/v2/", nil), httptest.NewRecorder()
	r.Host = evil
	for key, value := range map[string]string{"X-Forwarded-Host": evil, "Forwarded": "host=" + evil + ";proto=http", "X-Forwarded-Proto": "http"} {
		r.Header.Set(key, value)
	}
	h.server.ServeHTTP(w, r)
	if got, want := w.Header().Get("WWW-Authenticate"), `Bearer realm="https://registry.example.com/auth/token",service="`+audience+`"`; got != want {
		t.Errorf("got challenge %s, want %s", got, want)
	}
}

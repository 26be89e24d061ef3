package harness

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const azuriteVersion = "3.37.0"

// An Azure is Azurite, which stands in for the blobs of Azure Storage. A kill loses what it has taken in the last
// seconds; a stop loses nothing.
type Azure struct {
	*Server
	Account, Key string // the account that every Azurite has
}

// Azurite starts Azurite, which takes some seconds. The first use on a machine installs it with npm.
func Azurite(t testing.TB) *Azure {
	t.Helper()
	node, main := azurite(t)
	storage := t.TempDir()
	s := start(t, command{
		name: "azurite",
		args: func(addr string) []string {
			return []string{node, main, "--blobHost", "127.0.0.1", "--blobPort", port(addr), "--location", storage, "--silent", "--disableTelemetry"}
		},
		ready: listens,
	}, "")
	s.Storage = storage
	return &Azure{
		Server:  s,
		Account: "devstoreaccount1",
		Key:     "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
	}
}

// Azurite installs Azurite, if need be, and returns the paths of node and of the script that node runs.
func azurite(t testing.TB) (node, main string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "Azurite runs on node, which is not installed: it is in Debian's package nodejs")
	}
	dir := cached(t, "azurite-"+azuriteVersion)
	err = provide(dir, func(dir string) (string, error) {
		t.Logf("installing azurite %s", azuriteVersion)
		cmd := exec.CommandContext(t.Context(), "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts",
			"azurite@"+azuriteVersion)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm install: %w\n%s", err, out)
		}
		return dir, nil
	})
	if errors.Is(err, exec.ErrNotFound) {
		missing(t, "Azurite comes with npm, which is not installed: it is in Debian's package npm")
	}
	if err != nil {
		missing(t, "%v", err)
	}
	return node, filepath.Join(dir, "node_modules/azurite/dist/src/blob/main.js")
}

// NewContainer makes a container that no other test has, and returns its name.
func (a *Azure) NewContainer(t testing.TB) string {
	t.Helper()
	name := fresh()
	_, _, err := ask(t.Context(), http.MethodPut, a.SignedURL(name)+"&restype=container", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// SignedURL is a URL with which any HTTP client may do anything to a container or a blob, for an hour. The path is
// container/blob.
func (a *Azure) SignedURL(path string) string {
	const (
		version     = "2018-03-28"
		permissions = "rwdlacup"
		services    = "b"
		resources   = "sco" // the service, containers, blobs
	)
	expiry := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	key, err := base64.StdEncoding.DecodeString(a.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	// The empty ones are the start, the addresses and the protocols.
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n", a.Account, permissions, services, resources, "", expiry, "", "", version)
	query := url.Values{
		"sv": {version}, "ss": {services}, "srt": {resources}, "sp": {permissions}, "se": {expiry},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
	u := url.URL{Scheme: "http", Host: a.Addr, Path: a.Account + "/" + path, RawQuery: query.Encode()}
	return u.String()
}

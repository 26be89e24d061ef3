package harness

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// StartZot starts zot, the program at path, on a new folder, as it is by default: it collects, stores equal blobs once,
// and does not sync what it writes. Storage has what its configuration is to say of its storage beside that.
//
// It is a program of the system: no version of it is built here.
func StartZot(t testing.TB, path string, storage map[string]string) *Server {
	t.Helper()
	all := map[string]string{"rootDirectory": t.TempDir()}
	maps.Copy(all, storage)
	s := start(t, command{
		name:  "zot",
		args:  func(addr string) []string { return []string{path, "serve", writeZotConfig(t, all, addr)} },
		ready: answers("/v2/"),
	}, "")
	s.Storage = all["rootDirectory"]
	return s
}

func writeZotConfig(t testing.TB, storage map[string]string, addr string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{
		"storage": storage,
		"http":    map[string]string{"address": host, "port": port},
		"log":     map[string]string{"level": "error"},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// StartNginx starts nginx as it is installed, with what stands in the block http of its configuration; http returns that
// for an address to listen on.
func StartNginx(t testing.TB, http func(addr string) string) *Server {
	t.Helper()
	program := Command(t, "nginx")
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	// One process with the account of the tests, which others do not let into their folders.
	const frame = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr notice;\nevents {}\nhttp {\n" +
		"access_log /dev/stderr;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n" +
		"uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n"
	return start(t, command{
		name: "nginx",
		home: dir,
		args: func(addr string) []string {
			if err := os.WriteFile(config, []byte(frame+http(addr)+"}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			return []string{program, "-p", dir, "-c", config, "-e", "stderr"}
		},
		ready: listens,
	}, "")
}

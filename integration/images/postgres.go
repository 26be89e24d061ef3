package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/parfait-registry/parfait/integration/harness"
)

var errNotInstalled = errors.New("no PostgreSQL: install Debian's package postgresql")

// postgres fills the image with what Debian has installed: the server, the two modules that a new cluster loads, what
// these are linked with, and the shell that initdb runs its commands in.
func postgres(r *rootfs) error {
	bin, err := harness.PostgresBin()
	if err != nil || !strings.HasPrefix(bin, "/usr/lib/postgresql/") {
		return errNotInstalled
	}
	version := filepath.Base(filepath.Dir(bin))
	for _, name := range []string{"postgres", "initdb", "pg_isready"} {
		r.program(filepath.Join(bin, name))
		r.link("/usr/bin/"+name, filepath.Join(bin, name))
	}
	for _, name := range []string{"plpgsql.so", "dict_snowball.so"} {
		r.program(filepath.Join(bin, "../lib", name))
	}
	r.link("/bin", "usr/bin") // it is /bin/sh that they ask for
	r.tree("/usr/share/postgresql/" + version)
	r.tree("/usr/share/zoneinfo")
	for _, name := range []string{"sh", "mv", "rm"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		r.program(path)
	}
	script, err := files.ReadFile("postgres/entrypoint.sh")
	if err != nil {
		return err
	}
	r.text("/entrypoint.sh", 0o755, script)
	r.text("/etc/passwd", 0o644, fmt.Appendf(nil, "postgres:x:%d:%[1]d::/var/lib/postgresql:/bin/sh\n", user))
	r.folder("/tmp", 0, 0o1777)
	r.folder("/var/lib/postgresql", user, 0o700)
	r.folder("/var/run/postgresql", user, 0o755)
	return r.err
}

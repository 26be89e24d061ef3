package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/certs"
	"github.com/parfait-registry/parfait/doctor"
	"github.com/parfait-registry/parfait/drivers/local"
)

// folder tries out a folder that is a store.
func (x *examination) folder(ctx context.Context, cfg local.Config) {
	const check = "store"
	if !doctor.Folder(x.Report, "store folder", "the store", cfg.Path) {
		return
	}
	for _, inside := range []string{"docker/registry/v2/blobs/sha256", "docker/registry/v2/repositories", "parfait"} {
		if path := filepath.Join(cfg.Path, inside); exists(path) {
			doctor.Folder(x.Report, "store folder", "a part of the store", path)
		}
	}
	dir, err := os.MkdirTemp(cfg.Path, "parfait-doctor-")
	if err != nil {
		x.Fail(check, "", "%v", err)
		return
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			x.Warn(check, "remove it by hand", "%v", err)
		}
	}()
	store, err := local.Open(local.Config{Path: dir})
	if err != nil {
		x.Fail(check, "", "%v", err)
		return
	}
	defer closeStore(store)
	doctor.Store(ctx, x.Report, store, x.registry.Redirect)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// expiresSoon is when it is time for a new certificate.
const expiresSoon = 14 * 24 * time.Hour

func (x *examination) certificate(context.Context) {
	const check = "tls"
	if !x.certs.Enabled() {
		return
	}
	if x.certs.ACMECache != "" {
		if doctor.Folder(x.Report, check, "for certificates", x.certs.ACMECache); x.Count(doctor.Fail) == 0 {
			x.Skip(check, "whether the authority reaches port 443 of %v, only it can tell", x.certs.ACMEHosts)
		}
		return
	}
	if _, err := certs.Open(x.certs, x.Logger(check)); err != nil {
		x.Fail(check, "", "%v", err)
		return
	}
	chains, err := x.certs.Chains()
	if err != nil {
		x.Fail(check, "", "%v", err)
		return
	}
	for _, c := range chains {
		x.validity(check, c)
	}
	if u, err := url.Parse(x.server.HTTPHost); err == nil && u.Hostname() != "" {
		if err := chains[0].VerifyHostname(u.Hostname()); err != nil {
			x.Warn(check, "get one for that name", "clients are sent to http_host, for which the certificate is none: %v", err)
		}
	}
	if info, err := os.Stat(x.certs.Key); err == nil && info.Mode().Perm()&0o004 != 0 {
		x.Warn(check, "chmod 600 "+x.certs.Key, "everybody on this machine may read the private key")
	}
}

func (x *examination) validity(check string, c certs.Certificate) {
	const fix = "get a new one, which the server takes by itself"
	until := c.NotAfter.UTC().Format(time.DateOnly)
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		x.Fail(check, fix, "the certificate %s in %s has expired on %s", name(c), c.File, until)
	case now.Before(c.NotBefore):
		x.Fail(check, "see whether the clock is right", "the certificate %s in %s is not valid before %s", name(c), c.File, c.NotBefore.UTC().Format(time.DateTime))
	case now.Add(expiresSoon).After(c.NotAfter):
		x.Warn(check, fix, "the certificate %s in %s expires on %s", name(c), c.File, until)
	default:
		x.OK(check, "the certificate %s in %s is valid until %s", name(c), c.File, until)
	}
}

// name is what people call a certificate.
func name(c certs.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}

// users reads the files of users, or of those who sign tokens. Keys that are made in the index are left alone.
func (x *examination) users(ctx context.Context) {
	const check = "users"
	cfg := x.access
	if cfg.TokensKeyFile == "" {
		cfg.Tokens = false
	}
	guard, err := access.Open(ctx, cfg, nil, x.Logger(check))
	switch {
	case err != nil:
		x.Fail(check, "", "%v", err)
		return
	case guard == nil:
		x.Warn(check, "name a file of users in auth_htpasswd_path, which parfait htpasswd -c makes", "everybody who reaches the server may do everything")
		return
	}
	if cfg.HtpasswdPath == "" {
		x.OK(check, "what auth needs is there")
		return
	}
	data, err := os.ReadFile(cfg.HtpasswdPath)
	if err != nil {
		x.Fail(check, "", "auth_htpasswd_path: %v", err)
		return
	}
	x.OK(check, "%s has %d who can log in", cfg.HtpasswdPath, access.ParseHtpasswd(data).Users())
}

// address tells whether somebody listens where the server is to, and whether that is one.
func (x *examination) address(ctx context.Context) {
	const check = "address"
	addr := x.server.WithDefaults().HTTPAddr
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		listener.Close()
		x.OK(check, "%s is free", addr)
	case errors.Is(err, syscall.EADDRINUSE):
		url, err := x.readyURL()
		if err == nil {
			err = askReady(x.neighbour(), url)
		}
		if err != nil {
			x.Fail(check, "stop what listens there (ss -ltnp), or see its log if it is a parfait; or name another http_addr", "%s is taken, and there is no server that is ready: %v", addr, err)
			return
		}
		x.OK(check, "a server listens on %s, and is ready", addr)
	case errors.Is(err, syscall.EACCES):
		x.Fail(check, "name a port above 1023 in http_addr, or give the process CAP_NET_BIND_SERVICE", "%v", err)
	default:
		x.Fail(check, "name an address of this machine in http_addr", "%v", err)
	}
}

// space looks at the disks of a folder that is a store, of an index in a file, and of temporary files.
func (x *examination) space() {
	var paths []string
	if cfg, ok := x.end.config.(*local.Config); ok {
		paths = append(paths, cfg.Path)
	}
	if x.indexFile != "" {
		dir := filepath.Dir(x.indexFile)
		doctor.Folder(x.Report, "index folder", "for the index", dir)
		paths = append(paths, dir)
	}
	doctor.Space(x.Report, append(paths, os.TempDir())...)
}

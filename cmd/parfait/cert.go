package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/certs"
)

func newCert() *cobra.Command {
	cert := &cobra.Command{
		Use:   "cert",
		Short: "Make certificates for a network of one's own",
		Args:  cobra.NoArgs, // so that a misspelt sub-command is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cert.AddCommand(newSelfSigned(), newClientCert())
	return cert
}

// certFlags are what both kinds of certificates have.
type certFlags struct {
	dir   string
	days  int
	force bool
}

func (f *certFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVarP(&f.dir, "dir", "d", "certs", "folder of the files")
	cmd.Flags().IntVar(&f.days, "days", 365, "days that the certificate is good for")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace a certificate that is there")
	return cmd
}

// life is how long the certificate is good for.
func (f *certFlags) life() (time.Duration, error) {
	const most = 3650
	if f.days < 1 || f.days > most {
		return 0, fmt.Errorf("--days: %d is not between 1 and %d", f.days, most)
	}
	return time.Duration(f.days) * 24 * time.Hour, nil
}

// made explains an error of making a certificate.
func made(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; --force replaces it, and leaves the authority as it is", err)
	}
	return err
}

func newSelfSigned() *cobra.Command {
	var f certFlags
	return f.add(&cobra.Command{
		Use:   "self-signed [host...]",
		Short: "Make a certificate for the server, and an authority that signs it",
		Long: `Make a certificate for a server that clients reach by the given names and
addresses (default: localhost and its addresses), and an authority that signs it,
unless the folder has one that was made before. The files:

  domain.crt, domain.key   for http_tls_certificate and http_tls_key
  ca.crt                   for clients to trust: for docker, copy it to
                           /etc/docker/certs.d/HOST:PORT/ca.crt
  ca.key                   to sign further ones; nobody else is to have it

A server that runs notices by itself that its certificate is another one.`,
		RunE: func(cmd *cobra.Command, hosts []string) error {
			if len(hosts) == 0 {
				hosts = []string{"localhost", "127.0.0.1", "::1"}
			}
			for _, host := range hosts {
				if net.ParseIP(host) == nil && !hostName.MatchString(host) {
					return fmt.Errorf("%q is neither the name of a host nor an IP address; leave out scheme and port", host)
				}
			}
			life, err := f.life()
			if err != nil {
				return err
			}
			if err := certs.SelfSign(f.dir, hosts, life, f.force); err != nil {
				return made(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s and %s are for the server, and %s is for clients to trust\n",
				filepath.Join(f.dir, certs.ServerCert), filepath.Join(f.dir, certs.ServerKey), filepath.Join(f.dir, certs.AuthorityCert))
			return failed(err)
		},
	})
}

func newClientCert() *cobra.Command {
	var f certFlags
	return f.add(&cobra.Command{
		Use:   "client user",
		Short: "Make a certificate by which a client says who it is",
		Long: `Make a certificate, USER.crt and USER.key, by which a client says who it is, signed
by the authority that "parfait cert self-signed" has made in the same folder. A
server takes it with http_tls_clientcas: [ca.crt].`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			user := args[0]
			if !userName.MatchString(user) || user+".crt" == certs.AuthorityCert || user+".crt" == certs.ServerCert {
				return fmt.Errorf("%q cannot be the name of a user and of a file here", user)
			}
			life, err := f.life()
			if err != nil {
				return err
			}
			if err := certs.SignClient(f.dir, user, life, f.force); err != nil {
				return made(err)
			}
			path := filepath.Join(f.dir, user)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s.crt and %s.key are for %s\n", path, path, user)
			return failed(err)
		},
	})
}

var (
	hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
)

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthcheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck [url]",
		Short: "Ask the server of this flavor on this machine whether it is ready",
		Long: `Ask the server of this flavor on this machine whether it is ready: the exit
status is 0 if /readyz answers 200. With a URL, ask that instead: images without
a shell and curl find out so whether another program in them is well.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if u, err := url.Parse(args[0]); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
					return fmt.Errorf("%q is no URL that starts with http:// or https://", args[0])
				}
				return failed(askReady(&http.Client{}, args[0]))
			}
			s, err := o.load()
			if err != nil {
				return err
			}
			address, err := s.readyURL()
			if err != nil {
				return err
			}
			return failed(askReady(s.neighbour(), address))
		},
	}
}

// readyURL is where the server on this machine says whether it is ready.
func (s *settings) readyURL() (string, error) {
	host, port, err := net.SplitHostPort(s.server.WithDefaults().HTTPAddr)
	if err != nil {
		return "", fmt.Errorf("http_addr: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http://"
	if s.certs.Enabled() {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port) + "/readyz", nil
}

// neighbour returns a client for the server on this machine. What the server's certificate says of names is of no
// interest: it need not have the one of this machine, and nothing secret is asked or told.
func (s *settings) neighbour() *http.Client {
	if !s.certs.Enabled() {
		return &http.Client{}
	}
	conf := &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- see above
	if len(s.certs.ACMEHosts) > 0 {
		conf.ServerName = s.certs.ACMEHosts[0] // there is a certificate for that alone
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
}

func askReady(client *http.Client, address string) error {
	client.Timeout = 5 * time.Second
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // the status says enough without it
		return fmt.Errorf("%s: %s: %s", address, resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthcheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the server of this flavor on this machine whether it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.load()
			if err != nil {
				return err
			}
			host, port, err := net.SplitHostPort(s.server.WithDefaults().HTTPAddr)
			if err != nil {
				return fmt.Errorf("http_addr: %w", err)
			}
			if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
				host = "localhost"
			}
			return failed(askReady("http://" + net.JoinHostPort(host, port) + "/readyz"))
		},
	}
}

func askReady(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // the status says enough without it
		return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"

	"github.com/parfait-registry/parfait/server"
)

// newWeb returns what speaks HTTP to clients, by TLS if there is encryption.
func newWeb(cfg server.Config, handler http.Handler, encryption *tls.Config, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!cfg.HTTP2Disabled)
	protocols.SetUnencryptedHTTP2(cfg.H2CEnabled)
	return &http.Server{
		Handler:           handler,
		TLSConfig:         encryption,
		Protocols:         protocols,
		ReadHeaderTimeout: cfg.HeaderTimeout, // bodies have a limit of their own
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// listenOn serves until web is shut down.
func listenOn(web *http.Server, listener net.Listener) error {
	if web.TLSConfig == nil {
		return web.Serve(listener)
	}
	return web.ServeTLS(listener, "", "")
}

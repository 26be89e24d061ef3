package main

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// debugConfig has the keys of the listener for those who look into the program. Zero means the default.
type debugConfig struct {
	// Addr is the address to listen on for profiles and variables of the program, host:port. Who can reach it is asked for
	// nothing: keep it to the machine, or to a network of operators. Default: none.
	Addr string `yaml:"debug_addr"`
	// Prometheus has the metrics there, too, at PrometheusPath. Default: false, /metrics.
	Prometheus     bool   `yaml:"debug_prometheus_enabled"`
	PrometheusPath string `yaml:"debug_prometheus_path"`
}

// check looks for values that are none.
func (c debugConfig) check() error {
	if p := c.PrometheusPath; p != "" && (!strings.HasPrefix(p, "/") || strings.ContainsAny(p, "{} ?#") || strings.HasPrefix(p, "/debug/")) {
		return fmt.Errorf("debug_prometheus_path: %q is no path such as /metrics", p)
	}
	return nil
}

// debugHealthTimeout is how long a store and an index may take to say that they are there.
const debugHealthTimeout = 5 * time.Second

// handler answers as the debug server of registry:2 does, and with all profiles. metrics may be nil.
func (c debugConfig) handler(healthy func(context.Context) error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/vars", expvar.Handler())
	mux.HandleFunc("GET /debug/health", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), debugHealthTimeout)
		defer cancel()
		faults := map[string]string{}
		w.Header().Set("Content-Type", "application/json")
		if err := healthy(ctx); err != nil {
			faults["registry"] = err.Error()
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(faults) // the rest is the client's
	})
	if c.Prometheus && metrics != nil {
		path := c.PrometheusPath
		if path == "" {
			path = "/metrics"
		}
		mux.Handle("GET "+path, metrics)
	}
	return mux
}

// listen serves handler until the returned function is called. Without an address it does nothing.
func (c debugConfig) listen(ctx context.Context, handler http.Handler, log *slog.Logger) (stop func() error, err error) {
	if c.Addr == "" {
		return func() error { return nil }, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("debug_addr: %w", err)
	}
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the listener for debugging has ended", "err", err)
		}
	}()
	log.Info("profiles and variables are shown to whoever asks", "debug_addr", listener.Addr().String())
	return web.Close, nil
}

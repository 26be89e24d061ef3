package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/certs"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

func newServe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry until SIGTERM",
		Long: `Serve the registry until SIGTERM or SIGINT. Then requests that are under way are
finished, for at most drain_timeout, while new ones get 503; a second signal
ends it at once.

SIGHUP has the configuration read again. What changes with it at once is all but
the storage, the index, the address and the format of the log; the log tells.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.load()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), s, o.load, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// serve opens everything, in an order in which nothing listens before all that the operator can have wrong is known
// to be right, and serves until ctx ends. again reads the settings again.
func serve(ctx context.Context, s *settings, again func() (*settings, error), stdout, stderr io.Writer) (err error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	log, level := s.adjustableLogger(stderr)
	watch := s.newInstruments()
	log, endMail, err := s.openMail(ctx, watch, log)
	if err != nil {
		return err
	}
	defer endMail()
	if err := watch.openTraces(ctx, log); err != nil {
		return err
	}
	defer watch.close(context.WithoutCancel(ctx), log)
	s.index.Watch = watch.watchIndex
	store, db, err := s.openStore(ctx, log)
	if err != nil {
		return err
	}
	store = watch.watchStore(store)
	defer func() { err = errors.Join(err, failed(db.Close()), closeStore(store)) }()
	guard, err := access.Open(ctx, s.access, db, log)
	if err != nil {
		return err
	}

	encryption, err := certs.Open(s.certs, log)
	if err != nil {
		return err
	}
	audit, auditEnd, err := s.audit.open(stdout, stderr, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(auditEnd.Close())) }()
	background := context.WithoutCancel(ctx) // ctx ends when the stop begins
	endEvents, err := s.openEvents(background, db, watch, log)
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, failed(endEvents())) }()
	s.server.Version, s.server.Audit = buildVersion(), audit
	watch.watchRequests(&s.server, log)
	cfg := s.server.WithDefaults()
	reg, err := registry.Open(background, s.registry, store, db, log)
	if err != nil {
		return refused(err)
	}
	defer func() { err = errors.Join(err, failed(reg.Close(background))) }()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("http_addr: %w", err)
	}
	defer listener.Close()
	stopDebug, err := s.debug.listen(ctx, s.debug.handler(reg.Check, cfg.Metrics), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(stopDebug())) }()

	tune()
	live := &service{settings: s, again: again, keys: db, registry: reg, log: log, level: level}
	live.handler.Store(server.New(cfg, reg, guard, log))
	watch.read(store, db, reg, live.handler.Load(), log)
	web := newWeb(cfg, live, encryption, log)
	log.Info("serving", "address", listener.Addr().String(), "flavor", cfg.Flavor, "storage", s.process.Storage, "index", db.Place(), "tls", encryption != nil,
		"read_only", s.registry.ReadOnly, "version", cfg.Version)
	return failed(live.serveOn(ctx, listener, web, hup))
}

// serveOn serves until ctx ends, and what is under way after that.
func (s *service) serveOn(ctx context.Context, listener net.Listener, web *http.Server, hup <-chan os.Signal) error {
	ended := make(chan error, 1)
	go func() { ended <- listenOn(web, listener) }()
	background := context.WithoutCancel(ctx)
	for {
		select {
		case err := <-ended:
			return err
		case <-hup:
			s.reload(background)
		case <-ctx.Done():
			return drain(background, web, s.handler.Load(), s.settings.server.WithDefaults().DrainTimeout, s.log)
		}
	}
}

// tune sets up the runtime for what a registry does, unless the environment has the operator's own choice.
//
// Garbage is collected less often than by default: the live heap is a few MiB, and to double that is soon done by
// requests that leave little behind. And more goroutines may run at once than there are processors, if those are few:
// one that waits for the disk keeps its place for a while, and two of them would keep all of two places.
func tune() {
	const places = 3
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < places {
		runtime.GOMAXPROCS(places)
	}
}

// cutTimeout bounds how long requests that were cut off may take to notice. What holds them up then is the store.
const cutTimeout = 10 * time.Second

// drain finishes what is under way while the listener still answers, with 503, to whoever comes anew. When it returns
// nil no request uses store or index any more.
func drain(ctx context.Context, web *http.Server, handler *server.Server, timeout time.Duration, log *slog.Logger) error {
	log.Info("stopping", "at_most", timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	handler.Drain()
	err := handler.Wait(ctx)
	if err == nil {
		err = web.Shutdown(ctx)
	}
	if err == nil {
		log.Info("stopped")
		return nil
	}
	log.Warn("requests that did not end in time are cut off", "drain_timeout", timeout)
	if err := web.Close(); err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cutTimeout)
	defer cancel()
	return handler.Wait(ctx)
}

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/mail"
	"github.com/parfait-registry/parfait/metrics"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
	"github.com/parfait-registry/parfait/traces"
)

// instruments are what watches a server at work.
type instruments struct {
	storage string           // the name of the back end
	metrics *metrics.Metrics // nil if nothing is measured
	traces  *traces.Traces   // nil if nothing is traced
}

// newInstruments returns what measures, if the flavor has it so.
func (s *settings) newInstruments() *instruments {
	i := &instruments{storage: s.end.name}
	if !s.metrics.Disabled {
		i.metrics = metrics.New(s.metrics, buildVersion())
	}
	return i
}

// openTraces opens what traces, if the environment asks for it. The caller closes it.
func (i *instruments) openTraces(ctx context.Context, log *slog.Logger) (err error) {
	i.traces, err = traces.Open(ctx, buildVersion(), log)
	return err
}

// close sends what is left to send.
func (i *instruments) close(ctx context.Context, log *slog.Logger) {
	if i.traces == nil {
		return
	}
	if err := i.traces.Close(ctx); err != nil {
		log.Warn("the last traces are lost", "err", err)
	}
}

// watchIndex returns what watches an index in a database of that kind.
func (i *instruments) watchIndex(system string) index.Watcher {
	var all indexWatchers
	if i.metrics != nil {
		all = append(all, i.metrics.Index())
	}
	if i.traces != nil {
		all = append(all, i.traces.Index(system))
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// watchStore returns a store that is watched.
func (i *instruments) watchStore(store drivers.Driver) drivers.Driver {
	var all storeWatchers
	if i.metrics != nil {
		all = append(all, i.metrics.Store())
	}
	if i.traces != nil {
		all = append(all, i.traces.Store(i.storage))
	}
	switch len(all) {
	case 0:
		return store
	case 1:
		return metered.Watched(store, all[0])
	default:
		return metered.Watched(store, all)
	}
}

// watchRequests has a server with this configuration be watched.
func (i *instruments) watchRequests(cfg *server.Config, log *slog.Logger) {
	if i.metrics != nil {
		cfg.Measure, cfg.Metrics = i.metrics.Route, i.metrics.Handler(log)
	}
	if i.traces != nil {
		cfg.Trace = i.traces.Request
	}
}

// watchEvents has what becomes of events be counted.
func (i *instruments) watchEvents(cfg *events.Config) {
	if i.metrics != nil {
		cfg.Observe = func(endpoint string, what events.Outcome, n int) { i.metrics.EventsBecame(endpoint, string(what), n) }
		cfg.Waiting = i.metrics.EventsWait
	}
}

// watchMail has mail be counted.
func (i *instruments) watchMail(cfg *mail.Config) {
	if i.metrics != nil {
		cfg.Sent = i.metrics.Mailed
	}
}

// read has the metrics tell of all parts of a server.
func (i *instruments) read(store drivers.Driver, db *index.DB, reg *registry.Registry, web *server.Server, log *slog.Logger) {
	if i.metrics != nil {
		i.metrics.Read(metrics.Sources{Storage: i.storage, Store: store, Index: db, Registry: reg, InFlight: web.InFlight, Log: log})
	}
}

// storeWatchers are several that are told the same. The context goes from one to the next.
type storeWatchers []metered.Watcher

func (all storeWatchers) Begin(ctx context.Context, op, key string) context.Context {
	for _, w := range all {
		ctx = w.Begin(ctx, op, key)
	}
	return ctx
}

func (all storeWatchers) End(ctx context.Context, op string, d metered.Done) {
	for _, w := range all {
		w.End(ctx, op, d)
	}
}

// indexWatchers are likewise.
type indexWatchers []index.Watcher

func (all indexWatchers) Begin(ctx context.Context, kind index.CallKind, call string) context.Context {
	for _, w := range all {
		ctx = w.Begin(ctx, kind, call)
	}
	return ctx
}

func (all indexWatchers) End(ctx context.Context, kind index.CallKind, call string, took time.Duration, err error) {
	for _, w := range all {
		w.End(ctx, kind, call, took, err)
	}
}

func (all indexWatchers) Committed(transactions int) {
	for _, w := range all {
		w.Committed(transactions)
	}
}

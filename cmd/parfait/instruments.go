package main

import (
	"log/slog"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/metrics"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// instruments are what watches a server at work.
type instruments struct {
	storage string           // the name of the back end
	metrics *metrics.Metrics // nil if nothing is measured
}

func (s *settings) newInstruments() *instruments {
	i := &instruments{storage: s.end.name}
	if !s.metrics.Disabled {
		i.metrics = metrics.New(s.metrics, buildVersion())
	}
	return i
}

// watchIndex has cfg open an index that is watched.
func (i *instruments) watchIndex(cfg *index.Config) {
	if i.metrics != nil {
		cfg.Watcher = i.metrics.Index()
	}
}

// watchStore returns a store that is watched.
func (i *instruments) watchStore(store drivers.Driver) drivers.Driver {
	if i.metrics == nil {
		return store
	}
	return metered.Watched(store, i.metrics.Store())
}

// watchRequests has a server with this configuration be watched.
func (i *instruments) watchRequests(cfg *server.Config, log *slog.Logger) {
	if i.metrics != nil {
		cfg.Measure, cfg.Metrics = i.metrics.Route, i.metrics.Handler(log)
	}
}

// watchEvents has what becomes of events be counted.
func (i *instruments) watchEvents(cfg *events.Config) {
	if i.metrics != nil {
		cfg.Observe = func(endpoint string, what events.Outcome, n int) {
			if what == events.Queued {
				i.metrics.EventsQueued(endpoint, n)
			} else {
				i.metrics.EventsBecame(endpoint, string(what), n)
			}
		}
	}
}

// read has the metrics tell of all parts of a server.
func (i *instruments) read(store drivers.Driver, db *index.DB, reg *registry.Registry, web *server.Server, log *slog.Logger) {
	if i.metrics != nil {
		i.metrics.Read(metrics.Sources{Storage: i.storage, Store: store, Index: db, Registry: reg, InFlight: web.InFlight, Log: log})
	}
}

// Package metrics shows what a registry does to Prometheus. What happens often is counted as it happens: requests by
// [Metrics.Route], calls of the store and of the index by [Metrics.Store] and [Metrics.Index], which watch. All else is
// read from the parts when somebody asks: see [Metrics.Read].
//
// No label has a value that clients choose, but for the classes of repositories, of which there is a bounded number.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config has the keys of a flavor that this package reads. Zero means the default.
type Config struct {
	// Disabled measures nothing, and there is no /metrics.
	Disabled bool `yaml:"metrics_disabled"`
	// Classes bounds the classes of repositories that pulls and pushes are counted by. The class is the first component of
	// a name; that of the repositories that come when there are so many is other. Default: 50.
	Classes int `yaml:"metrics_classes"`
}

// namespace begins the name of each metric.
const namespace = "parfait"

// Metrics are all metrics of one server.
type Metrics struct {
	registry *prometheus.Registry
	http     *httpMetrics
	store    *Store
	index    *Index
	events   *eventMetrics
	mail     *mailMetrics
}

// New returns the metrics of a program of this version.
func New(cfg Config, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.http = newHTTPMetrics(m.registry, cfg.Classes)
	m.store = newStore(m.registry)
	m.index = newIndex(m.registry)
	m.events = newEventMetrics(m.registry)
	m.mail = newMailMetrics(m.registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info", Help: "The program. The value is 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers with all metrics. What it cannot read it leaves out, and says so in the log.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
	})
}

// Store watches the store.
func (m *Metrics) Store() *Store { return m.store }

// Index watches the index.
func (m *Metrics) Index() *Index { return m.index }

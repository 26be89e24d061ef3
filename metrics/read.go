package metrics

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// Sources are the parts of a server that are read when somebody asks.
type Sources struct {
	Storage  string // the name of the back end
	Store    drivers.Driver
	Index    *index.DB
	Registry *registry.Registry
	InFlight func() int64 // requests
	Log      *slog.Logger
}

// Read adds the metrics of s, once.
func (m *Metrics) Read(s Sources) {
	if d, ok := drivers.As[*metered.Driver](s.Store); ok {
		m.registry.MustRegister(newStoreCounts(d))
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "info", Help: "Where the registry keeps its data. The value is 1.",
		ConstLabels: prometheus.Labels{"storage": s.Storage, "index": s.Index.Dialect()}})
	info.Set(1)
	m.registry.MustRegister(info, newReader(s))
}

// backlogTimeout bounds how long the database may take to count what is under way. Without an answer the rest is shown.
const backlogTimeout = 2 * time.Second

// A reader is a [prometheus.Collector] that reads sources.
type reader struct {
	Sources
	figures []figure
	backlog []figure
}

// A figure is one metric of what was read.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(reading) float64
}

// A reading is what all figures of one answer are taken of.
type reading struct {
	pool         index.Pool
	backlog      index.Backlog
	collection   registry.Collection
	adoption     registry.Adoption
	verification registry.Verification
}

func newReader(s Sources) *reader {
	r := &reader{Sources: s, backlog: backlogFigures()}
	r.figures = append(r.figures, gauge("http_requests_in_flight", "Requests that are under way.", func(reading) float64 { return float64(s.InFlight()) }))
	r.figures = append(r.figures, gauge("writable", "1 if clients may change something; 0 if the registry is read-only, or the store may be another server's.",
		func(reading) float64 { return truth(s.Registry.Writable() == nil) }))
	r.figures = append(r.figures, poolFigures()...)
	r.figures = append(r.figures, collectionFigures()...)
	r.figures = append(r.figures, adoptionFigures()...)
	r.figures = append(r.figures, verificationFigures()...)
	return r
}

// Describe implements [prometheus.Collector].
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range append(r.figures, r.backlog...) {
		ch <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (r *reader) Collect(ch chan<- prometheus.Metric) {
	now := reading{pool: r.Index.Pool(), collection: r.Registry.Collection(), adoption: r.Registry.Adoption(), verification: r.Registry.Verification()}
	for _, f := range r.figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(now))
	}
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout) // which no request reaches
	defer cancel()
	var err error
	if now.backlog, err = r.Index.Backlog(ctx); err != nil {
		r.Log.Warn("the metrics lack what is under way: the index does not answer", "err", err)
		return
	}
	for _, f := range r.backlog {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(now))
	}
}

func gauge(name, help string, value func(reading) float64) figure {
	return figure{prometheus.NewDesc(namespace+"_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(reading) float64) figure {
	return figure{prometheus.NewDesc(namespace+"_"+name, help, nil, nil), prometheus.CounterValue, value}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

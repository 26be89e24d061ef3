package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parfait-registry/parfait/drivers/metered"
)

// A Store measures how long calls of the store take. It is a [metered.Watcher].
type Store struct {
	durations map[string]prometheus.Observer
} // never changed

func newStore(r prometheus.Registerer) *Store {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "storage", Name: "operation_duration_seconds",
		Help:    "Time that operations have spent in the back end, bodies included. A file that is sent by the kernel counts until it is open.",
		Buckets: []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"operation"})
	r.MustRegister(v)
	s := &Store{durations: make(map[string]prometheus.Observer)}
	for _, op := range metered.Ops() {
		s.durations[op] = v.WithLabelValues(op)
	}
	return s
}

// Begin implements [metered.Watcher].
func (s *Store) Begin(ctx context.Context, _, _ string) context.Context { return ctx }

// End implements [metered.Watcher].
func (s *Store) End(_ context.Context, op string, d metered.Done) {
	s.durations[op].Observe(d.Time.Seconds())
}

// storeCounts reads the counts of a driver.
type storeCounts struct {
	driver                             *metered.Driver
	operations, errors, written, bytes *prometheus.Desc
}

func newStoreCounts(d *metered.Driver) *storeCounts {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "storage", name), help, []string{"operation"}, nil)
	}
	return &storeCounts{d,
		desc("operations_total", "Operations of the back end that were begun."),
		desc("errors_total", "Operations that the back end has failed. That there is no such object is no failure."),
		desc("written_bytes_total", "Bytes written to objects, committed or not."),
		desc("read_bytes_total", "Bytes read from objects. A file that is sent by the kernel counts as a whole."),
	}
}

// Describe implements [prometheus.Collector].
func (s *storeCounts) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements [prometheus.Collector].
func (s *storeCounts) Collect(ch chan<- prometheus.Metric) {
	for op, n := range s.driver.Counts() {
		count := func(d *prometheus.Desc, n int64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), op)
		}
		count(s.operations, n.Calls)
		count(s.errors, n.Errors)
		count(s.written, n.BytesIn)
		count(s.bytes, n.BytesOut)
	}
}

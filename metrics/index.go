package metrics

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parfait-registry/parfait/index"
)

// An Index measures statements and transactions. It is an [index.Watcher].
type Index struct {
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	batches  prometheus.Histogram

	mu    sync.Mutex // is held by who changes calls
	calls atomic.Pointer[map[string]indexCall]
}

// An indexCall has the metrics of one statement or transaction.
type indexCall struct {
	duration prometheus.Observer
	errors   prometheus.Counter
}

func newIndex(r prometheus.Registerer) *Index {
	x := &Index{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "index", Name: "call_duration_seconds",
			Help:    "Time that statements and transactions have taken, the wait for a connection or for a commit included.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 30}}, []string{"kind", "call"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "index", Name: "errors_total",
			Help: "Statements and transactions that the database has failed."}, []string{"kind", "call"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "index", Name: "commit_transactions",
			Help: "Transactions that share a commit of SQLite, and so a sync.", Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
	}
	x.calls.Store(new(map[string]indexCall))
	r.MustRegister(x.duration, x.errors, x.batches)
	return x
}

// Begin implements [index.Watcher].
func (x *Index) Begin(ctx context.Context, _ index.CallKind, _ string) context.Context { return ctx }

// End implements [index.Watcher].
func (x *Index) End(_ context.Context, kind index.CallKind, call string, took time.Duration, err error) {
	c, ok := (*x.calls.Load())[call]
	if !ok {
		c = x.add(kind, call)
	}
	c.duration.Observe(took.Seconds())
	if err != nil {
		c.errors.Inc()
	}
}

// add makes the metrics of a call that has none.
func (x *Index) add(kind index.CallKind, call string) indexCall {
	x.mu.Lock()
	defer x.mu.Unlock()
	calls := maps.Clone(*x.calls.Load())
	if calls == nil {
		calls = make(map[string]indexCall)
	}
	c := indexCall{x.duration.WithLabelValues(string(kind), call), x.errors.WithLabelValues(string(kind), call)}
	calls[call] = c
	x.calls.Store(&calls)
	return c
}

// Committed implements [index.Watcher].
func (x *Index) Committed(transactions int) { x.batches.Observe(float64(transactions)) }

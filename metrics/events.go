package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// eventMetrics count events. There is nothing of them without endpoints.
type eventMetrics struct {
	total          *prometheus.CounterVec
	queued, oldest *prometheus.GaugeVec
}

func newEventMetrics(r *prometheus.Registry) *eventMetrics {
	m := &eventMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "events_total",
			Help: "Events by endpoint, and by what became of them: delivered, failed, which is one try, or dropped. Pulls that were lost in memory have no endpoint."},
			[]string{"endpoint", "outcome"}),
		queued: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "events_queued",
			Help: "Events that waited for the endpoint within the last minute."}, []string{"endpoint"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "events_oldest_seconds",
			Help: "For how long the oldest of these had waited."}, []string{"endpoint"}),
	}
	r.MustRegister(m.total, m.queued, m.oldest)
	return m
}

// EventsBecame counts n events for an endpoint of the configuration.
func (m *Metrics) EventsBecame(endpoint, outcome string, n int) {
	m.events.total.WithLabelValues(endpoint, outcome).Add(float64(n))
}

// EventsWait says how many events wait for an endpoint, and for how long the oldest has.
func (m *Metrics) EventsWait(endpoint string, n int, oldest time.Duration) {
	for _, outcome := range [...]string{"delivered", "failed", "dropped"} {
		m.events.total.WithLabelValues(endpoint, outcome) // which begins with 0, so that the first one is seen
	}
	m.events.queued.WithLabelValues(endpoint).Set(float64(n))
	m.events.oldest.WithLabelValues(endpoint).Set(oldest.Seconds())
}

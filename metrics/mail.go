package metrics

import "github.com/prometheus/client_golang/prometheus"

// mailMetrics count mail about errors.
type mailMetrics struct{ total, errors *prometheus.CounterVec }

func newMailMetrics(r *prometheus.Registry) *mailMetrics {
	m := &mailMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "mails_total",
			Help: "Mails about errors, by outcome: sent, or failed, which is one try."}, []string{"outcome"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "mail_errors_total",
			Help: "Errors that mails have told of, by outcome: shown, with their line of the log, or counted."}, []string{"outcome"}),
	}
	r.MustRegister(m.total, m.errors)
	for _, outcome := range [...]string{"sent", "failed"} {
		m.total.WithLabelValues(outcome) // which begins with 0, so that the first one is seen
	}
	for _, outcome := range [...]string{"shown", "counted"} {
		m.errors.WithLabelValues(outcome)
	}
	return m
}

// Mailed counts a mail that shows some errors and gives others as numbers only, unless err tells why it was not sent.
func (m *Metrics) Mailed(shown, counted int, err error) {
	if err != nil {
		m.mail.total.WithLabelValues("failed").Inc()
		return
	}
	m.mail.total.WithLabelValues("sent").Inc()
	m.mail.errors.WithLabelValues("shown").Add(float64(shown))
	m.mail.errors.WithLabelValues("counted").Add(float64(counted))
}

package metrics

import (
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parfait-registry/parfait/server"
)

type httpMetrics struct {
	requests, in, out, cut *prometheus.CounterVec
	duration               *prometheus.HistogramVec
	classes                *classes
}

func newHTTPMetrics(r prometheus.Registerer, classes int) *httpMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "http", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	m := &httpMetrics{
		requests: counter("requests_total", "Requests that were answered, by class of the status; 4xx has clients that left early.", "route", "method", "code"),
		in:       counter("request_bytes_total", "Bytes of bodies that clients have sent.", "route", "method"),
		out:      counter("response_bytes_total", "Bytes of bodies that were sent to clients.", "route", "method"),
		cut:      counter("responses_cut_total", "Answers that were broken off because of a fault behind them.", "route", "method"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "http", Name: "request_duration_seconds",
			Help:    "Time from the header of a request to the end of its answer, bodies included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"route", "method"}),
		classes: newClasses(r, classes),
	}
	r.MustRegister(m.duration)
	return m
}

// Route returns what is to be told of the requests of a pattern, as server.Config wants it.
func (m *Metrics) Route(pattern string) func(server.Request) {
	if pattern == "" {
		pattern = "none"
	}
	r := &route{httpMetrics: m.http, pattern: pattern, pulls: m.http.classes.pulls(pattern), pushes: m.http.classes.pushes(pattern)}
	return r.observe
}

// A route has the metrics of one pattern. Those of a method are looked up when the method is first used, so that the output
// has no methods that never are, and no request has to look for them.
type route struct {
	*httpMetrics
	pattern       string
	methods       [len(methods) + 1]atomic.Pointer[method]
	pulls, pushes *acts // nil if the route is none
}

// methods are those that have a label of their own. They are never written to.
var methods = [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// A method has the metrics of a method of one route.
type method struct {
	requests     [5]prometheus.Counter // by class of the status
	in, out, cut prometheus.Counter
	duration     prometheus.Observer
}

func (r *route) observe(q server.Request) {
	m := r.method(q.Method)
	m.requests[min(max(q.Status/100, 1), len(m.requests))-1].Inc()
	m.duration.Observe(q.Duration.Seconds())
	if q.In > 0 {
		m.in.Add(float64(q.In))
	}
	if q.Out > 0 {
		m.out.Add(float64(q.Out))
	}
	if q.Cut {
		m.cut.Inc()
	}
	if r.pulls.are(q) {
		r.pulls.count(q.Repository)
	} else if r.pushes.are(q) {
		r.pushes.count(q.Repository)
	}
}

func (r *route) method(name string) *method {
	i := 0
	for i < len(methods) && methods[i] != name {
		i++
	}
	if m := r.methods[i].Load(); m != nil {
		return m
	}
	name = "other"
	if i < len(methods) {
		name = methods[i]
	}
	m := &method{
		in: r.in.WithLabelValues(r.pattern, name), out: r.out.WithLabelValues(r.pattern, name), cut: r.cut.WithLabelValues(r.pattern, name),
		duration: r.duration.WithLabelValues(r.pattern, name),
	}
	for i, code := range [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
		m.requests[i] = r.requests.WithLabelValues(r.pattern, name, code)
	}
	r.methods[i].Store(m) // or another one with the same counters
	return m
}

// The ends of the patterns that are about pulls and pushes.
const (
	manifestRoute = "/manifests/{reference}"
	blobRoute     = "/blobs/{digest}"
	uploadRoute   = "/blobs/uploads/{session}"
	startRoute    = "/blobs/uploads"
)

func (c *classes) pulls(pattern string) *acts {
	switch {
	case strings.HasSuffix(pattern, manifestRoute):
		return c.acts(c.pulled, "manifest", http.MethodGet, http.StatusOK)
	case strings.HasSuffix(pattern, blobRoute):
		return c.acts(c.pulled, "blob", http.MethodGet, http.StatusOK, http.StatusPartialContent, http.StatusTemporaryRedirect)
	}
	return nil
}

func (c *classes) pushes(pattern string) *acts {
	switch {
	case strings.HasSuffix(pattern, manifestRoute):
		return c.acts(c.pushed, "manifest", http.MethodPut, http.StatusCreated)
	case strings.HasSuffix(pattern, uploadRoute):
		return c.acts(c.pushed, "blob", http.MethodPut, http.StatusCreated)
	case strings.HasSuffix(strings.TrimSuffix(pattern, "/"), startRoute): // with the blob, or to mount it
		return c.acts(c.pushed, "blob", http.MethodPost, http.StatusCreated)
	}
	return nil
}

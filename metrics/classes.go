package metrics

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parfait-registry/parfait/server"
)

// classes are the classes of repositories, first come, first served. They are asked of repositories that are there, since
// only what has succeeded counts.
type classes struct {
	pulled, pushed *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	most  int
	known map[string]bool
}

func newClasses(r prometheus.Registerer, most int) *classes {
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{"class", "kind"})
		r.MustRegister(v)
		return v
	}
	return &classes{
		pulled: counter("pulls_total", "Manifests and blobs that clients have got, also in part, by the first component of the repository's name."),
		pushed: counter("pushes_total", "Manifests and blobs that clients have pushed or mounted, by the first component of the repository's name."),
		most:   cmp.Or(max(most, 0), 50),
		known:  make(map[string]bool),
	}
}

// other is the class of the repositories for which there is no room.
const other = "other"

// name returns the class of a first component.
func (c *classes) name(component string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known[component] {
		if len(c.known) >= c.most {
			return other
		}
		c.known[strings.Clone(component)] = true
	}
	return component
}

// acts are the pulls or the pushes of a route, counted by class.
type acts struct {
	*classes
	counter  *prometheus.CounterVec
	kind     string
	method   string
	statuses []int // of what has succeeded

	counters atomic.Pointer[map[string]prometheus.Counter] // by first component; the map is never changed
	other    prometheus.Counter
}

func (c *classes) acts(counter *prometheus.CounterVec, kind, method string, statuses ...int) *acts {
	a := &acts{classes: c, counter: counter, kind: kind, method: method, statuses: statuses, other: counter.WithLabelValues(other, kind)}
	a.counters.Store(new(map[string]prometheus.Counter))
	return a
}

// are reports whether a request was one of them.
func (a *acts) are(q server.Request) bool {
	return a != nil && a.method == q.Method && slices.Contains(a.statuses, q.Status)
}

func (a *acts) count(repository string) {
	component, _, _ := strings.Cut(repository, "/")
	if c := (*a.counters.Load())[component]; c != nil {
		c.Inc()
		return
	}
	a.add(component).Inc()
}

// add returns the counter of a component that has none here.
func (a *acts) add(component string) prometheus.Counter {
	class := a.name(component)
	if class == other && component != other {
		return a.other
	}
	c := a.counter.WithLabelValues(strings.Clone(class), a.kind)
	a.mu.Lock()
	defer a.mu.Unlock()
	counters := make(map[string]prometheus.Counter)
	for component, c := range *a.counters.Load() {
		counters[component] = c
	}
	counters[strings.Clone(component)] = c
	a.counters.Store(&counters)
	return c
}

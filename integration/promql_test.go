package integration

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// A history is what Prometheus knows of one server: its scrapes, kept as Prometheus keeps them.
type history struct {
	engine *promql.Engine
	now    time.Time // of the last scrape
	series map[string]*recorded
}

// recorded is one series.
type recorded struct {
	labels labels.Labels
	chunk  *chunkenc.XORChunk
	add    chunkenc.Appender
}

// scrapeInterval is between two scrapes, whatever the clock says.
const scrapeInterval = 15 * time.Second

func newHistory() *history {
	return &history{
		engine: promql.NewEngine(promql.EngineOpts{Logger: slog.New(slog.DiscardHandler), MaxSamples: 1e7, Timeout: time.Minute}),
		now:    time.Unix(1_700_000_000, 0),
		series: make(map[string]*recorded),
	}
}

// scrape takes in what a server says of itself, with the labels that Prometheus adds.
func (h *history) scrape(t *testing.T, url string) {
	t.Helper()
	h.now = h.now.Add(scrapeInterval)
	status, body := visit(t, url)
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(body))
	if status != 200 || err != nil {
		t.Fatalf("%s: got %d, %v", url, status, err)
	}
	samples := model.Vector{{Metric: model.Metric{model.MetricNameLabel: "up"}, Value: 1}}
	for _, family := range families {
		of, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, family)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, of...)
	}
	for _, sample := range samples {
		if err := h.record(sample); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *history) record(sample *model.Sample) error {
	all := map[string]string{"job": "parfait", "instance": "registry.example.com:5000"}
	for name, value := range sample.Metric {
		all[string(name)] = string(value)
	}
	of := labels.FromMap(all)
	known := h.series[of.String()]
	if known == nil {
		chunk := chunkenc.NewXORChunk()
		add, err := chunk.Appender()
		if err != nil {
			return err
		}
		known = &recorded{of, chunk, add}
		h.series[of.String()] = known
	}
	known.add.Append(0, h.now.UnixMilli(), float64(sample.Value))
	return nil
}

// query returns what an expression is at each scrape of the last while.
func (h *history) query(t *testing.T, expr string, last time.Duration) promql.Matrix {
	t.Helper()
	q, err := h.engine.NewRangeQuery(t.Context(), h, nil, expr, h.now.Add(-last), h.now, scrapeInterval)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	result := q.Exec(t.Context())
	matrix, err := result.Matrix()
	if err != nil || len(result.Warnings) > 0 {
		t.Fatalf("%s: %v, %v", expr, err, result.Warnings)
	}
	m := slices.Clone(matrix)
	for i := range m {
		m[i].Floats = slices.Clone(m[i].Floats) // which the engine uses again
	}
	return m
}

// Querier implements [storage.Queryable].
func (h *history) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: h.choose}, nil
}

func (h *history) choose(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found selection
	for _, s := range h.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			found.series = append(found.series, &storage.SeriesEntry{Lset: s.labels, SampleIteratorFn: s.chunk.Iterator})
		}
	}
	slices.SortFunc(found.series, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &found
}

// A selection goes through series.
type selection struct {
	series []storage.Series
	at     int // the next one
}

func (s *selection) Next() bool                        { s.at++; return s.at <= len(s.series) }
func (s *selection) At() storage.Series                { return s.series[s.at-1] }
func (s *selection) Err() error                        { return nil }
func (s *selection) Warnings() annotations.Annotations { return nil }

var _ storage.Queryable = (*history)(nil)

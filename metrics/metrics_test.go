package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/metrics"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// A house is a registry with metrics.
type house struct {
	t   testing.TB
	web *httptest.Server
	db  *index.DB
}

func open(t *testing.T, cfg metrics.Config, reg registry.Config, inject func(drivertest.Op) error) *house {
	t.Helper()
	log, m := slog.New(slog.DiscardHandler), metrics.New(cfg, "v1.2.3")
	disk, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var store drivers.Driver = disk
	if inject != nil {
		store = drivertest.Faulty(disk, inject)
	}
	m.EventsBecame("hook", "delivered", 2)
	m.EventsWait("hook", 3, 90*time.Second)
	m.Mailed(3, 7, nil)
	m.Mailed(1, 0, errors.New("no route"))
	store = metered.Watched(store, m.Store())
	db, err := index.Open(t.Context(), index.Config{Database: filepath.Join(t.TempDir(), "index.db"), Grace: time.Second,
		Watch: func(string) index.Watcher { return m.Index() }}, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), reg, store, db, log)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{Measure: m.Route, Metrics: m.Handler(log)}, r, nil, log)
	m.Read(metrics.Sources{Storage: "local", Store: store, Index: db, Registry: r, InFlight: s.InFlight, Log: log})
	h := &house{t, httptest.NewServer(s), db}
	t.Cleanup(func() {
		h.web.Close()
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
		db.Close()
		disk.Close()
	})
	return h
}

func (h *house) do(status int, method, path, body string, header ...string) http.Header {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.web.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		h.t.Fatalf("%s %s: got %d %s, %v, want %d", method, path, resp.StatusCode, b, err, status)
	}
	return resp.Header
}

func (h *house) pushBlob(repo, content string) digest.Digest {
	h.t.Helper()
	d := digest.FromString(content)
	h.do(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), content)
	return d
}

func (h *house) pushImage(repo, tag string) (layer digest.Digest) {
	h.t.Helper()
	config, layer := h.pushBlob(repo, "{}"), h.pushBlob(repo, "layer of "+repo)
	h.do(201, "PUT", "/v2/"+repo+"/manifests/"+tag, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, config, layer, len("layer of "+repo)),
		"Content-Type", "application/vnd.oci.image.manifest.v1+json")
	return layer
}

// scrape reads all metrics, as Prometheus does.
func (h *house) scrape() families {
	h.t.Helper()
	resp, err := h.web.Client().Get(h.web.URL + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

type families map[string]*dto.MetricFamily

// value returns the value of a series, a histogram's being its count, or -1 if there is none. labels are name=value.
func (f families) value(name string, labels ...string) float64 {
	for _, m := range f[name].GetMetric() {
		var has []string
		for _, l := range m.Label {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		default:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	return -1
}

func (f families) want(t *testing.T, value float64, name string, labels ...string) {
	t.Helper()
	if got := f.value(name, labels...); got != value {
		t.Errorf("%s%q: got %v, want %v", name, labels, got, value)
	}
}

func (f families) wantSome(t *testing.T, name string, labels ...string) {
	t.Helper()
	if got := f.value(name, labels...); got <= 0 {
		t.Errorf("%s%q: got %v, want more than 0", name, labels, got)
	}
}

// What a push and pulls come to is in the metrics, number by number.
func TestMetrics(t *testing.T) {
	h := open(t, metrics.Config{}, registry.Config{GCDisabled: true}, nil)
	layer := h.pushImage("team/app", "v1")
	for range 3 {
		h.do(200, "GET", "/v2/team/app/manifests/v1", "")
	}
	h.do(200, "HEAD", "/v2/team/app/manifests/v1", "")
	h.do(404, "GET", "/v2/team/app/manifests/v2", "")
	h.do(200, "GET", "/v2/team/app/blobs/"+layer.String(), "")
	h.do(404, "GET", "/nowhere", "")
	h.do(202, "POST", "/v2/team/app/blobs/uploads/", "")
	m := h.scrape()
	m.want(t, 2, "parfait_events_total", "endpoint=hook", "outcome=delivered")
	m.want(t, 3, "parfait_events_queued", "endpoint=hook")
	m.want(t, 90, "parfait_events_oldest_seconds", "endpoint=hook")
	m.want(t, 1, "parfait_mails_total", "outcome=sent")
	m.want(t, 1, "parfait_mails_total", "outcome=failed")
	m.want(t, 3, "parfait_mail_errors_total", "outcome=shown")
	m.want(t, 7, "parfait_mail_errors_total", "outcome=counted")

	const manifest, blob, start = "route=/v2/{name...}/manifests/{reference}", "route=/v2/{name...}/blobs/{digest}", "route=/v2/{name...}/blobs/uploads/"
	m.want(t, 3, "parfait_http_requests_total", manifest, "method=GET", "code=2xx")
	m.want(t, 1, "parfait_http_requests_total", manifest, "method=GET", "code=4xx")
	m.want(t, 1, "parfait_http_requests_total", manifest, "method=HEAD", "code=2xx")
	m.want(t, 1, "parfait_http_requests_total", manifest, "method=PUT", "code=2xx")
	m.want(t, 1, "parfait_http_requests_total", "route=none", "method=GET", "code=4xx")
	m.want(t, 4, "parfait_http_request_duration_seconds", manifest, "method=GET")
	m.want(t, 2+17, "parfait_http_request_bytes_total", start, "method=POST")
	m.want(t, 17, "parfait_http_response_bytes_total", blob, "method=GET")
	m.want(t, 0, "parfait_http_responses_cut_total", blob, "method=GET")
	m.want(t, 1, "parfait_http_requests_in_flight") // this one
	m.want(t, 3, "parfait_pulls_total", "class=team", "kind=manifest")
	m.want(t, 1, "parfait_pulls_total", "class=team", "kind=blob")
	m.want(t, 1, "parfait_pushes_total", "class=team", "kind=manifest")
	m.want(t, 2, "parfait_pushes_total", "class=team", "kind=blob")

	m.want(t, 2, "parfait_storage_operations_total", "operation=create")
	m.want(t, 2, "parfait_storage_operation_duration_seconds", "operation=create")
	m.want(t, 2+17, "parfait_storage_written_bytes_total", "operation=create")
	m.want(t, 17, "parfait_storage_read_bytes_total", "operation=open")
	m.want(t, 0, "parfait_storage_errors_total", "operation=create")
	m.want(t, 1, "parfait_index_call_duration_seconds", "kind=transaction", "call=put-manifest")
	m.wantSome(t, "parfait_index_call_duration_seconds", "kind=statement", "call=manifest-by-tag")
	m.want(t, 0, "parfait_index_errors_total", "kind=transaction", "call=put-manifest")
	m.wantSome(t, "parfait_index_commit_transactions")
	m.wantSome(t, "parfait_index_connections_max")
	m.wantSome(t, "parfait_index_connections_open")
	m.want(t, 1, "parfait_upload_sessions")
	m.wantSome(t, "parfait_outbox_entries")
	m.want(t, 1, "parfait_writable")
	m.want(t, 0, "parfait_adoption_under_way")
	m.want(t, 0, "parfait_verification_under_way")
	m.want(t, 1, "parfait_build_info", "version=v1.2.3")
	m.want(t, 1, "parfait_info", "storage=local", "index=sqlite")
	m.wantSome(t, "go_goroutines")
	m.wantSome(t, "process_resident_memory_bytes")
}

// What goes on in the background is in the metrics: collection and verification.
func TestBackground(t *testing.T) {
	h := open(t, metrics.Config{}, registry.Config{GCInterval: 10 * time.Millisecond, VerifyInterval: time.Hour}, nil)
	h.pushBlob("team/app", "garbage")
	var m families
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m = h.scrape(); m.value("parfait_collection_runs_total") > 0 && m.value("parfait_verification_finished_timestamp_seconds") > 0 {
			break
		}
	}
	m.want(t, 1, "parfait_collection_runs_total")
	m.want(t, 1, "parfait_collection_blobs_total")
	m.want(t, 7, "parfait_collection_bytes_total")
	m.wantSome(t, "parfait_verification_finished_timestamp_seconds")
	m.want(t, 0, "parfait_verification_findings")
}

// A store that fails is seen as one.
func TestErrors(t *testing.T) {
	h := open(t, metrics.Config{}, registry.Config{}, func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit && strings.HasPrefix(op.Key, "docker/registry/v2/blobs/") {
			return drivertest.ErrInjected
		}
		return nil
	})
	d := digest.FromString("x")
	h.do(500, "POST", "/v2/a/blobs/uploads/?digest="+d.String(), "x")
	m := h.scrape()
	m.want(t, 1, "parfait_storage_errors_total", "operation=create")
	m.want(t, 1, "parfait_http_requests_total", "route=/v2/{name...}/blobs/uploads/", "method=POST", "code=5xx")
	m.want(t, -1, "parfait_pushes_total", "class=a")

	h.db.Close()
	if m := h.scrape(); m.value("parfait_upload_sessions") != -1 || m.value("parfait_collection_queue_blobs") != 0 {
		t.Error("want all but what the index would have to be asked for")
	}
}

// The series of repositories, and of methods, are bounded.
func TestCardinality(t *testing.T) {
	h := open(t, metrics.Config{Classes: 2}, registry.Config{}, nil)
	for i := range 5 {
		h.pushBlob(fmt.Sprintf("team%d/app", i), "x")
		h.do(405, fmt.Sprintf("BREW%d", i), "/v2/", "")
	}
	h.pushBlob("team0/app2", "x")
	m := h.scrape()
	m.want(t, 2, "parfait_pushes_total", "class=team0", "kind=blob")
	m.want(t, 1, "parfait_pushes_total", "class=team1", "kind=blob")
	m.want(t, 3, "parfait_pushes_total", "class=other", "kind=blob")
	m.want(t, -1, "parfait_pushes_total", "class=team2")
	m.want(t, 5, "parfait_http_requests_total", "route=/v2/", "method=other", "code=4xx")
}

// The metrics are named as Prometheus asks for, and each has a help.
func TestNames(t *testing.T) {
	h := open(t, metrics.Config{}, registry.Config{}, nil)
	h.pushImage("team/app", "v1")
	ours := h.scrape()
	maps.DeleteFunc(ours, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "parfait_") })
	if len(ours) < 40 {
		t.Errorf("got %d metrics", len(ours))
	}
	problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(ours))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

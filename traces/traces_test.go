package traces_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
	"github.com/parfait-registry/parfait/traces"
)

// A receiver is a collector of OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards all
	header   http.Header
	resource map[string]string
	spans    []*v1.Span
}

func newReceiver(t *testing.T) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err != nil || q.Method != "POST" || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s of %s: %v", q.Method, q.URL, q.Header.Get("Content-Type"), err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.header = q.Header
		for _, resource := range m.ResourceSpans {
			r.resource = attributes(resource.Resource.Attributes)
			for _, scope := range resource.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func attributes(all []*common.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, a := range all {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[a.Key] = fmt.Sprint(v.IntValue)
		}
	}
	return m
}

// A house is a registry of which everything is traced as the environment says.
type house struct {
	t      *testing.T
	web    *httptest.Server
	traces *traces.Traces
	log    *bytes.Buffer
}

func open(t *testing.T, inject func(drivertest.Op) error) *house {
	t.Helper()
	h := &house{t: t, log: new(bytes.Buffer)}
	log := slog.New(traces.NameLines(slog.NewJSONHandler(h.log, nil)))
	tr, err := traces.Open(t.Context(), "v1.2.3", log)
	if err != nil || tr == nil {
		t.Fatalf("got %v, %v", tr, err)
	}
	disk, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	store := metered.Watched(drivertest.Faulty(disk, inject), tr.Store("local"))
	db, err := index.Open(t.Context(), index.Config{Database: filepath.Join(t.TempDir(), "index.db"), Watch: tr.Index}, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), registry.Config{}, store, db, log)
	if err != nil {
		t.Fatal(err)
	}
	h.traces = tr
	h.web = httptest.NewServer(server.New(server.Config{Trace: tr.Request}, r, nil, log))
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

func none(drivertest.Op) error { return nil }

func (h *house) do(status int, method, path, body string, header ...string) {
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
}

func (h *house) pushBlob(content string, header ...string) digest.Digest {
	h.t.Helper()
	d := digest.FromString(content)
	h.do(201, "POST", "/v2/team/app/blobs/uploads/?digest="+d.String(), content, header...)
	return d
}

// pushImage returns the digest of the config.
func (h *house) pushImage(header ...string) (config digest.Digest) {
	h.t.Helper()
	config = h.pushBlob("{}", header...)
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, config)
	h.do(201, "PUT", "/v2/team/app/manifests/v1", body, append(header, "Content-Type", "application/vnd.oci.image.manifest.v1+json")...)
	return config
}

// end sends what is left, and returns a line for each span: what it is below, and its name.
func (h *house) end(r *receiver) (tree []string) {
	h.t.Helper()
	if err := h.traces.Close(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]string{}
	for _, s := range r.spans {
		names[string(s.SpanId)] = s.Name
	}
	for _, s := range r.spans {
		parent := names[string(s.ParentSpanId)]
		if parent == "" {
			parent = hex.EncodeToString(s.ParentSpanId)
		}
		tree = append(tree, parent+" > "+s.Name)
	}
	slices.Sort(tree)
	return tree
}

// span returns what the receiver got by a name.
func (r *receiver) span(t *testing.T, name string) *v1.Span {
	t.Helper()
	i := slices.IndexFunc(r.spans, func(s *v1.Span) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no span %q", name)
	}
	return r.spans[i]
}

func (r *receiver) wantAttributes(t *testing.T, name string, want map[string]string) {
	t.Helper()
	got := attributes(r.span(t, name).Attributes)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: got %s=%q, want %q", name, key, got[key], value)
		}
	}
}

// A push is a trace: each request a span below what the client has named, and what it asked of store and index below it.
func TestPush(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	t.Setenv("OTEL_SERVICE_NAME", "images")
	h := open(t, none)
	const client = "00f067aa0ba902b7"
	config := h.pushImage("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-"+client+"-01", "X-Request-ID", "edge-1")
	h.do(200, "GET", "/healthz", "") // of which nobody wants to know
	got := h.end(r)

	const post, put = "POST /v2/{name...}/blobs/uploads/", "PUT /v2/{name...}/manifests/{reference}"
	want := []string{
		client + " > " + post, post + " > index add-blob", post + " > index hold", post + " > storage create", post + " > storage stage",
		client + " > " + put, put + " > index put-manifest",
		put + " > storage stage", put + " > storage stage", put + " > storage stage", put + " > storage stage", // link, payload, and two of the tag
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) != "4bf92f3577b34da6a3ce929d0e0e4736" || s.EndTimeUnixNano < s.StartTimeUnixNano || s.Status.GetCode() != v1.Status_STATUS_CODE_UNSET {
			t.Errorf("got %v", s)
		}
	}
	r.wantAttributes(t, put, map[string]string{"http.request.method": "PUT", "http.route": "/v2/{name...}/manifests/{reference}",
		"url.path": "/v2/team/app/manifests/v1", "http.response.status_code": "201", "parfait.repository": "team/app", "parfait.request_id": "edge-1",
		"url.scheme": "http", "server.address": h.web.Listener.Addr().String(), "client.address": "127.0.0.1"})
	r.wantAttributes(t, post, map[string]string{"http.request.body.size": "2"})
	r.wantAttributes(t, "storage create", map[string]string{"parfait.storage": "local", "parfait.storage.operation": "create", "parfait.storage.written": "2",
		"parfait.storage.key": "docker/registry/v2/blobs/sha256/" + config.Encoded()[:2] + "/" + config.Encoded() + "/data"})
	r.wantAttributes(t, "index put-manifest", map[string]string{"db.system.name": "sqlite", "parfait.index.kind": "transaction", "db.operation.name": "put-manifest"})
	if r.resource["service.name"] != "images" || r.resource["service.version"] != "v1.2.3" || r.resource["deployment.environment.name"] != "test" || r.header.Get("X-Tenant") != "acme" {
		t.Errorf("got resource %q, header %q", r.resource, r.header)
	}
	if !strings.Contains(h.log.String(), `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`) {
		t.Errorf("no trace in\n%s", h.log)
	}
}

// What fails is marked, in the span of the call and in that of the request.
func TestFailure(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", r.URL+"/v1/traces")
	h := open(t, func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit && strings.HasPrefix(op.Key, "docker/registry/v2/blobs/") {
			return drivertest.ErrInjected
		}
		return nil
	})
	d := digest.FromString("x")
	h.do(500, "POST", "/v2/team/app/blobs/uploads/?digest="+d.String(), "x")
	h.end(r)
	for _, name := range []string{"storage create", "POST /v2/{name...}/blobs/uploads/"} {
		if got := r.span(t, name).Status.GetCode(); got != v1.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: got status %v", name, got)
		}
	}
	if events := r.span(t, "storage create").Events; len(events) != 1 || events[0].Name != "exception" {
		t.Errorf("got events %v", events)
	}
	r.wantAttributes(t, "POST /v2/{name...}/blobs/uploads/", map[string]string{"error.type": "500"})
	if r.resource["service.name"] != "parfait" {
		t.Errorf("got resource %q", r.resource)
	}
}

// Sampler and propagators are what the environment says.
func TestSampling(t *testing.T) {
	const sampled, not = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	for _, tt := range []struct {
		sampler, arg, propagators, parent string
		spans                             bool
		followed                          bool // whether they are below the parent
	}{
		{"", "", "", "", true, false},
		{"", "", "", sampled, true, true},
		{"", "", "", not, false, false},
		{"", "", "none", not, true, false},
		{"always_on", "", "", not, true, true},
		{"always_off", "", "", sampled, false, false},
		{"parentbased_always_off", "", "", sampled, true, true},
		{"parentbased_always_off", "", "", "", false, false},
		{"traceidratio", "0", "", sampled, false, false},
		{"traceidratio", "1", "tracecontext", not, true, true},
	} {
		t.Run(fmt.Sprintf("%s %s %s %s", tt.sampler, tt.arg, tt.propagators, tt.parent), func(t *testing.T) {
			r := newReceiver(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
			t.Setenv("OTEL_TRACES_SAMPLER", tt.sampler)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", tt.arg)
			t.Setenv("OTEL_PROPAGATORS", tt.propagators)
			h := open(t, none)
			h.do(404, "GET", "/v2/team/app/manifests/v1", "", "traceparent", tt.parent)
			tree := strings.Join(h.end(r), "\n")
			if (tree != "") != tt.spans || strings.Contains(tree, "00f067aa0ba902b7 > ") != tt.followed {
				t.Errorf("got %q", tree)
			}
		})
	}
}

// Without anything that asks for traces there are none, and what is wrong is told in one line.
func TestOpen(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"", "off"},
		{"OTEL_SERVICE_NAME=x", "off"},
		{"OTEL_TRACES_EXPORTER=otlp", "on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_SDK_DISABLED=true", "off"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_TRACES_EXPORTER=none", "off"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_TRACES_EXPORTER"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=some", "OTEL_TRACES_SAMPLER"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=2", "OTEL_TRACES_SAMPLER_ARG"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_PROPAGATORS=b3", "OTEL_PROPAGATORS"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_RESOURCE_ATTRIBUTES=nonsense", "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(tt.env, func(t *testing.T) {
			for set := range strings.FieldsSeq(tt.env) {
				name, value, _ := strings.Cut(set, "=")
				t.Setenv(name, value)
			}
			tr, err := traces.Open(t.Context(), "", slog.New(slog.DiscardHandler))
			got := "off"
			switch {
			case err != nil:
				got, _, _ = strings.Cut(err.Error(), ":")
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("got %q, want one line", err)
				}
			case tr != nil:
				got = "on"
				tr.Close(t.Context())
			}
			if got != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// A collector that does not answer is a warning, and nothing else.
func TestNoCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
	h := open(t, none)
	h.pushImage()
	if err := h.traces.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Count(h.log.String(), "traces are lost") != 1 {
		t.Errorf("got\n%s", h.log)
	}
}

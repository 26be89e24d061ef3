package integration

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestTraces has the server send what a push was to a collector, before it ends at the latest. Metrics are there as well.
func TestTraces(t *testing.T) {
	var mu sync.Mutex // guards spans
	spans := make(map[string]int)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range m.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					spans[span.Name]++
				}
			}
		}
	}))
	defer receiver.Close()
	s := harness.StartParfait(t, harness.Options{Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL}})
	c, r := newRawClient(s.URL), rand.New(rand.NewPCG(7, 7))
	defer c.close()
	if err := c.pushImage(t.Context(), "team/app", "v1", postPut, newRawImage(r, newRawBlob(r, 1000))); err != nil {
		t.Fatal(err)
	}
	_, shown := visit(t, s.URL+"/metrics")
	if status := s.Stop(); status != 0 {
		t.Errorf("got exit status %d", status)
	}
	for name, want := range map[string]int{"PUT /v2/{name...}/manifests/{reference}": 1, "index put-manifest": 1, "PUT /v2/{name...}/blobs/uploads/{session}": 2,
		"storage create": 2, "GET /readyz": 0} {
		if spans[name] != want {
			t.Errorf("got %d spans %q, want %d", spans[name], name, want)
		}
	}
	if !strings.Contains(shown, "parfait_index_call_duration_seconds_count") || !strings.Contains(shown, "parfait_storage_operation_duration_seconds_count") {
		t.Error("there are no metrics beside traces")
	}
}

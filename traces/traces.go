// Package traces sends traces to a collector of OpenTelemetry, by OTLP over HTTP. The standard variables of the environment
// say whether, where to and which: see [Open].
//
// A request is a span, the child of the one that its traceparent names, and what it asks of the store and the index are
// its children. Work in the background has no spans.
package traces

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Traces make spans and send them.
type Traces struct {
	provider   *sdk.TracerProvider
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

// Open returns nil if the environment asks for no traces: it does with an OTEL_EXPORTER_OTLP_ENDPOINT, an
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp. All other variables of the exporter, the resource, the
// sampler, the propagators and the batches mean what they mean to every program. Nothing is sent yet: a collector that does
// not answer is a warning in the log, later. The caller closes what it gets.
func Open(ctx context.Context, version string, log *slog.Logger) (*Traces, error) {
	env, err := readEnvironment()
	if err != nil || !env.on {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	origin, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "parfait"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithResource(origin), sdk.WithSampler(env.sampler), sdk.WithBatcher(&complaining{SpanExporter: exporter, log: log}))
	return &Traces{provider, provider.Tracer("github.com/parfait-registry/parfait"), env.propagator}, nil
}

// closeTimeout bounds how long a collector may take for the last spans.
const closeTimeout = 5 * time.Second

// Close sends what is left.
func (t *Traces) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// A complaining exporter has the log tell when spans are lost, once for each reason.
type complaining struct {
	sdk.SpanExporter
	log  *slog.Logger
	mu   sync.Mutex
	fuss string // the last complaint; guarded by mu
}

func (c *complaining) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	complaint := ""
	if err != nil {
		complaint = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if complaint != "" && complaint != c.fuss {
		c.log.Warn("traces are lost", "err", err)
	}
	c.fuss = complaint
	return nil
}

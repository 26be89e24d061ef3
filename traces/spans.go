package traces

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/server"
)

// Request begins the span of a request, as server.Config wants it. Questions of whoever runs the server have none.
func (t *Traces) Request(r *http.Request) (context.Context, func(server.Request)) {
	if server.IsProbe(r.URL.Path) {
		return r.Context(), func(server.Request) {}
	}
	ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("url.path", r.URL.Path),
		attribute.String("server.address", r.Host),
		attribute.String("user_agent.original", r.UserAgent()),
		attribute.String("parfait.request_id", server.RequestID(ctx)),
	))
	return ctx, func(q server.Request) {
		defer span.End()
		if q.Route != "" {
			span.SetName(q.Method + " " + q.Route)
			span.SetAttributes(attribute.String("http.route", q.Route))
		}
		if q.Repository != "" {
			span.SetAttributes(attribute.String("parfait.repository", q.Repository))
		}
		if q.Client.IsValid() {
			span.SetAttributes(attribute.String("client.address", q.Client.String()))
		}
		span.SetAttributes(attribute.String("url.scheme", q.Scheme), attribute.Int("http.response.status_code", q.Status), attribute.Int64("http.request.body.size", q.In),
			attribute.Int64("http.response.body.size", q.Out))
		switch {
		case q.Cut:
			span.SetAttributes(attribute.String("error.type", "cut"))
			span.SetStatus(codes.Error, "the answer was broken off")
		case q.Status >= http.StatusInternalServerError:
			span.SetAttributes(attribute.String("error.type", strconv.Itoa(q.Status)))
			span.SetStatus(codes.Error, "")
		}
	}
}

// begin begins a span below that of ctx, if that has one that is recorded.
func (t *Traces) begin(ctx context.Context, name string, attributes ...attribute.KeyValue) context.Context {
	ctx, _ = t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	return ctx
}

func recorded(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// end ends the span of ctx.
func end(ctx context.Context, err error, attributes ...attribute.KeyValue) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attributes...)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Store returns what makes a span of each call of a store, which is of the back end called name.
func (t *Traces) Store(name string) metered.Watcher { return storeSpans{t, name} }

type storeSpans struct {
	*Traces
	name string
}

func (s storeSpans) Begin(ctx context.Context, op, key string) context.Context {
	if !recorded(ctx) {
		return ctx
	}
	return s.begin(ctx, "storage "+op, attribute.String("parfait.storage", s.name), attribute.String("parfait.storage.operation", op),
		attribute.String("parfait.storage.key", key))
}

func (s storeSpans) End(ctx context.Context, _ string, d metered.Done) {
	if !recorded(ctx) {
		return
	}
	var moved []attribute.KeyValue
	if d.BytesIn > 0 {
		moved = append(moved, attribute.Int64("parfait.storage.written", d.BytesIn))
	}
	if d.BytesOut > 0 {
		moved = append(moved, attribute.Int64("parfait.storage.read", d.BytesOut))
	}
	end(ctx, d.Err, moved...)
}

// Index returns what makes a span of each statement and transaction of a database, which is sqlite or postgresql.
func (t *Traces) Index(system string) index.Watcher { return indexSpans{t, system} }

type indexSpans struct {
	*Traces
	system string
}

func (x indexSpans) Begin(ctx context.Context, kind index.CallKind, call string) context.Context {
	if !recorded(ctx) {
		return ctx
	}
	return x.begin(ctx, "index "+call, attribute.String("db.system.name", x.system), attribute.String("parfait.index.kind", string(kind)),
		attribute.String("db.operation.name", call))
}

func (x indexSpans) End(ctx context.Context, _ index.CallKind, _ string, _ time.Duration, err error) {
	if recorded(ctx) {
		end(ctx, err)
	}
}

func (x indexSpans) Committed(int) {}

// NameLines returns a handler of log lines that hands them to h, with the trace and the span that they belong to.
func NameLines(h slog.Handler) slog.Handler { return namer{h} }

type namer struct{ slog.Handler }

func (n namer) Handle(ctx context.Context, r slog.Record) error {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String()))
	}
	return n.Handler.Handle(ctx, r)
}

func (n namer) WithAttrs(attrs []slog.Attr) slog.Handler { return namer{n.Handler.WithAttrs(attrs)} }
func (n namer) WithGroup(name string) slog.Handler       { return namer{n.Handler.WithGroup(name)} }

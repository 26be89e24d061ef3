package traces

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// An environment is what the variables ask for that the library does not read itself, or not aloud.
type environment struct {
	on         bool
	sampler    sdk.Sampler
	propagator propagation.TextMapPropagator
}

func readEnvironment() (env environment, err error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return env, nil
	}
	endpoint := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	switch exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "":
		env.on = endpoint != ""
	case "otlp":
		env.on = true
	case "none":
	default:
		return env, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is neither otlp nor none", exporter)
	}
	if !env.on {
		return env, nil
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return env, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT: that is no URL such as http://collector:4318") // and may have a password
	}
	if p := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); p != "" && p != "http/protobuf" {
		return env, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: this program speaks http/protobuf, which collectors take at port 4318, and not %q", p)
	}
	if env.sampler, err = sampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return env, err
	}
	env.propagator, err = propagator(cmp.Or(os.Getenv("OTEL_PROPAGATORS"), "tracecontext,baggage"))
	return env, err
}

func sampler(name, arg string) (sdk.Sampler, error) {
	ratio := 1.0
	if strings.HasSuffix(name, "traceidratio") && arg != "" {
		var err error
		if ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no number from 0 to 1", arg)
		}
	}
	kind, ofParent := strings.CutPrefix(name, "parentbased_")
	var s sdk.Sampler
	switch kind {
	case "always_on":
		s = sdk.AlwaysSample()
	case "always_off":
		s = sdk.NeverSample()
	case "traceidratio":
		s = sdk.TraceIDRatioBased(ratio)
	case "":
		s, ofParent = sdk.AlwaysSample(), true
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER: %q is none of always_on, always_off, traceidratio, and the same after parentbased_", name)
	}
	if ofParent {
		s = sdk.ParentBased(s)
	}
	return s, nil
}

func propagator(names string) (propagation.TextMapPropagator, error) {
	var all []propagation.TextMapPropagator
	for name := range strings.SplitSeq(names, ",") {
		switch strings.TrimSpace(name) {
		case "tracecontext":
			all = append(all, propagation.TraceContext{})
		case "baggage":
			all = append(all, propagation.Baggage{})
		case "none":
		default:
			return nil, fmt.Errorf("OTEL_PROPAGATORS: %q is none of tracecontext, baggage and none", name)
		}
	}
	return propagation.NewCompositeTextMapPropagator(all...), nil
}

package server

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// chatty logs when something is created, as a lower layer does.
type chatty struct {
	drivers.Driver
	log *slog.Logger
}

func (c chatty) Create(ctx context.Context, key string) (drivers.Writer, error) {
	c.log.With("driver", "chatty").InfoContext(ctx, "created", "key", key)
	return c.Driver.Create(ctx, key)
}

// The id of a request is in its answer, and in every line that is logged for its sake, by whichever layer.
func TestRequestID(t *testing.T) {
	j := new(journal)
	log := slog.New(NameRequests(slog.NewJSONHandler(j, nil)))
	h := openWith(t, chatty{mem.New(), log}, Config{}, registry.Config{}, j, log)
	before := len(j.lines(t, "created", 0))
	a := h.want(201, "POST", "/v2/a/blobs/uploads/?digest=sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
		strings.NewReader("x"), "X-Request-ID", "edge-42/a:b")
	if got := a.header.Values("X-Request-ID"); len(got) != 1 || got[0] != "edge-42/a:b" {
		t.Errorf("got header %q", got)
	}
	lines := append(j.lines(t, "created", before+2)[before:], j.lines(t, "request", 1)...)
	if len(lines) < 3 {
		t.Errorf("got %d lines", len(lines))
	}
	for _, line := range lines {
		if line["request_id"] != "edge-42/a:b" {
			t.Errorf("got line %v", line)
		}
	}
	log.Info("of no request")
	if got := j.lines(t, "of no request", 1)[0]; got["request_id"] != nil {
		t.Errorf("got line %v", got)
	}
}

// An id that is none is not taken over.
func TestBadRequestID(t *testing.T) {
	h := open(t, mem.New(), Config{})
	made := regexp.MustCompile("^[0-9a-f]{32}$")
	seen := map[string]bool{}
	for _, header := range [][]string{
		nil, {"X-Request-ID", ""}, {"X-Request-ID", "two words"}, {"X-Request-ID", `a"b`}, {"X-Request-ID", strings.Repeat("a", 129)},
		{"X-Request-ID", "a", "X-Request-ID", "b"}, {"X-Request-ID", "\xff"},
	} {
		a := h.do("GET", "/healthz", nil, header...)
		if got := a.header.Get("X-Request-ID"); !made.MatchString(got) || seen[got] {
			t.Errorf("%q: got %q", header, got)
		} else {
			seen[got] = true
		}
	}
	if a := h.do("GET", "/healthz", nil, "X-Request-ID", strings.Repeat("a", 128)); a.header.Get("X-Request-ID") != strings.Repeat("a", 128) {
		t.Error("one of 128 bytes was not taken over")
	}
}

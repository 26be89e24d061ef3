// Package doctor looks at what a registry stands on before, or while, it serves: whether a store can do what is asked of
// it, whether clocks agree, and whether the machine has room. It leaves nothing behind.
//
// Make a [Report], and hand it to [Store], [Folder], [Space] and [Files].
package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A Status is how grave a finding is.
type Status string

const (
	OK   Status = "ok"
	Warn Status = "warn" // it serves, but not for ever, or not all that it could
	Fail Status = "fail" // it does not serve
	Skip Status = "skip" // could not be looked at
)

// A Finding is what one look has come to.
type Finding struct {
	Check  string `json:"check"` // what was looked at
	Status Status `json:"status"`
	Text   string `json:"text"`          // one line, without secrets
	Fix    string `json:"fix,omitempty"` // the way out; empty if there is none, or Text has it
}

// String is the finding on one line, in columns.
func (f Finding) String() string {
	text := f.Text
	if f.Fix != "" {
		text += ": " + f.Fix
	}
	return fmt.Sprintf("%-4s  %-13s  %s", f.Status, f.Check, text)
}

// A Report takes findings, and hands each on as it comes.
type Report struct {
	found  func(Finding)
	counts map[Status]int
}

// NewReport returns a report that hands findings to found.
func NewReport(found func(Finding)) *Report {
	return &Report{found: found, counts: make(map[Status]int)}
}

// Count is how many findings of a status there were.
func (r *Report) Count(s Status) int { return r.counts[s] }

// Add takes a finding. What has several lines is on one.
func (r *Report) Add(f Finding) {
	f.Text = strings.Join(strings.FieldsFunc(f.Text, func(c rune) bool { return c == '\n' || c == '\r' }), "; ")
	r.counts[f.Status]++
	r.found(f)
}

// OK takes a good finding.
func (r *Report) OK(check, format string, args ...any) {
	r.Add(Finding{check, OK, fmt.Sprintf(format, args...), ""})
}

// Warn takes one that will do for now.
func (r *Report) Warn(check, fix, format string, args ...any) {
	r.Add(Finding{check, Warn, fmt.Sprintf(format, args...), fix})
}

// Fail takes a bad one.
func (r *Report) Fail(check, fix, format string, args ...any) {
	r.Add(Finding{check, Fail, fmt.Sprintf(format, args...), fix})
}

// Skip says what could not be looked at.
func (r *Report) Skip(check, format string, args ...any) {
	r.Add(Finding{check, Skip, fmt.Sprintf(format, args...), ""})
}

// Logger returns a log whose warnings and errors become findings: what a server would log at its start.
func (r *Report) Logger(check string) *slog.Logger {
	return slog.New(&handler{report: r, check: check})
}

type handler struct {
	report *Report
	check  string
	attrs  []slog.Attr
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (h *handler) Handle(_ context.Context, record slog.Record) error {
	text := strings.Builder{}
	text.WriteString(record.Message)
	write := func(a slog.Attr) bool {
		fmt.Fprintf(&text, ", %s %s", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	record.Attrs(write)
	h.report.Warn(h.check, "", "%s", text.String())
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(with.attrs[:len(with.attrs):len(with.attrs)], attrs...)
	return &with
}

func (h *handler) WithGroup(string) slog.Handler { return h }

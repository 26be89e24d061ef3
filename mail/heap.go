package mail

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// kindsMax bounds the kinds of errors in one mail, and samplesMax the lines of each.
	kindsMax   = 20
	samplesMax = 3

	// lineMax bounds a line, and stackMax what follows it, in bytes.
	lineMax  = 1000
	stackMax = 4000
)

// A line is one of the log, as a mail has it.
type line struct {
	at    time.Time
	kind  string
	text  string
	stack string // what stands behind the first line of a value; or empty
}

// variable is what differs between errors of one kind: digests, numbers, and what is in quotes.
var variable = regexp.MustCompile(`"(\\.|[^"\\])*"|sha(256|512):[0-9a-f]+|[0-9a-f]{12,}|\d+`)

// newLine writes a record in one line. Of values with several lines, what is behind the first one goes to the stack.
func newLine(r slog.Record, context []slog.Attr, mask func(string) string) line {
	l := line{at: r.Time, kind: r.Message}
	var text strings.Builder
	text.WriteString(r.Message)
	attr := func(a slog.Attr) bool {
		value := mask(a.Value.Resolve().String())
		value, rest, long := strings.Cut(value, "\n")
		if long && l.stack == "" {
			l.stack = clip(rest, stackMax)
		}
		if a.Key == "err" {
			l.kind += ": " + clip(variable.ReplaceAllString(value, "..."), lineMax)
		}
		if value == "" || strings.ContainsAny(value, ` "=`) {
			value = strconv.Quote(value)
		}
		text.WriteString(" " + a.Key + "=" + value)
		return true
	}
	for _, a := range context {
		attr(a)
	}
	r.Attrs(attr)
	l.text = clip(text.String(), lineMax)
	return l
}

// clip bounds a text to n bytes, or a few more.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "..."
}

// A heap is what is to be told.
type heap struct {
	lines       int
	first, last time.Time
	kinds       []*kind // in the order of their first lines
	others      int     // lines of kinds that found no room
}

// A kind is errors that differ in details.
type kind struct {
	name    string
	lines   int
	samples []line
}

// add takes up a line.
func (h *heap) add(l line) {
	h.count(1, l.at, l.at)
	h.addKind(kind{name: l.kind, lines: 1, samples: []line{l}})
}

// count adds n lines.
func (h *heap) count(n int, first, last time.Time) {
	if h.lines == 0 {
		h.first = first
	}
	h.lines, h.last = h.lines+n, last
}

func (h *heap) addKind(k kind) {
	i := slices.IndexFunc(h.kinds, func(other *kind) bool { return other.name == k.name })
	switch {
	case i >= 0:
		known := h.kinds[i]
		known.lines += k.lines
		known.samples = append(known.samples, k.samples[:min(len(k.samples), samplesMax-len(known.samples))]...)
	case len(h.kinds) == kindsMax:
		h.others += k.lines
	default:
		h.kinds = append(h.kinds, &k)
	}
}

// merge adds what came later.
func (h *heap) merge(later heap) {
	if later.lines == 0 {
		return
	}
	h.count(later.lines, later.first, later.last)
	h.others += later.others
	for _, k := range later.kinds {
		h.addKind(*k)
	}
}

// shown is how many lines are told as such, and not as numbers.
func (h *heap) shown() (n int) {
	for _, k := range h.kinds {
		n += len(k.samples)
	}
	return n
}

// subject begins as that of docker-registry did, by which mail may be sorted.
func (h *heap) subject(host string) string {
	name := clip(h.kinds[0].name, 80)
	if more := len(h.kinds) - 1; more > 0 {
		return fmt.Sprintf("Docker registry exception on %s: %s, and %d more kinds", host, name, more)
	}
	return fmt.Sprintf("Docker registry exception on %s: %s", host, name)
}

// text is the body of a mail.
func (h *heap) text(host, about string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s has logged %s", about, host, times(h.lines, "error"))
	if h.lines > 1 {
		fmt.Fprintf(&b, " from %s to %s", stamp(h.first), stamp(h.last))
	}
	b.WriteString(".\n")
	for i, k := range h.kinds {
		fmt.Fprintf(&b, "\n%d. %s: %s\n", i+1, times(k.lines, "time"), k.name)
		for _, l := range k.samples {
			fmt.Fprintf(&b, "\n   %s %s\n", stamp(l.at), l.text)
		}
		if more := k.lines - len(k.samples); more > 0 {
			fmt.Fprintf(&b, "\n   and %d more\n", more)
		}
		if stack := k.samples[0].stack; stack != "" {
			fmt.Fprintf(&b, "\n%s\n", strings.TrimRight(stack, "\n"))
		}
	}
	if h.others > 0 {
		fmt.Fprintf(&b, "\nAnd %s of other kinds.\n", times(h.others, "error"))
	}
	b.WriteString("\nThe log has all of them. The next mail comes in a minute at the earliest.\n")
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// times writes a number of things.
func times(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

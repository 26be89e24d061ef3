package s3

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name    string
		sources []int64 // their sizes, in bytes
		want    string  // pieces: source[offset+length] in MiB where they are whole, joined by +
	}{
		{"nothing", nil, ""},
		{"equal chunks", []int64{16 * mib, 16 * mib, 3 * mib}, "a[0+16M] b[0+16M] c[0+3M]"},
		{"a small end", []int64{16 * mib, 1}, "a[0+16M] b[0+1]"},
		{"as small as a part may be", []int64{5 * mib, 5 * mib}, "a[0+5M] b[0+5M]"},
		{"a small start", []int64{1 * mib, 16 * mib}, "a[0+1M]+b[0+4M] b[4M+12M]"},
		{"a small start that leaves little", []int64{1 * mib, 6 * mib, 8 * mib}, "a[0+1M]+b[0+4M] b[4M+2M]+c[0+3M] c[3M+5M]"},
		{"a small start that takes all", []int64{1 * mib, 4 * mib, 8 * mib}, "a[0+1M]+b[0+4M] c[0+8M]"},
		{"small ones", []int64{2 * mib, 2 * mib, 2 * mib}, "a[0+2M]+b[0+2M]+c[0+1M] c[1M+1M]"},
		{"smaller ones", []int64{1, 2, 3}, "a[0+1]+b[0+2]+c[0+3]"},
		{"a large one", []int64{150 * mib}, "a[0+50M] a[50M+50M] a[100M+50M]"},
		{"two large ones", []int64{128 * mib, 65 * mib}, "a[0+64M] a[64M+64M] b[0+34078720] b[34078720+34078720]"},
		{"a large one that does not divide", []int64{128*mib + 1}, "a[0+44739243] a[44739243+44739243] a[89478486+44739243]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var spans []span
			for i, size := range tt.sources {
				spans = append(spans, span{key: string(rune('a' + i)), n: size, whole: true})
			}
			pieces := cut(spans)
			var all []string
			for n, piece := range pieces {
				if last := n == len(pieces)-1; size(piece) < minPart && !last {
					t.Errorf("piece %d has %d bytes", n, size(piece))
				}
				if len(piece) > 1 && size(piece) > minPart {
					t.Errorf("%d bytes come through this process for piece %d", size(piece), n)
				}
				all = append(all, describe(piece))
			}
			if got := strings.Join(all, " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			wantAll(t, spans, pieces)
		})
	}
}

func describe(piece []span) string {
	mega := func(n int64) string {
		if n > 0 && n%(1<<20) == 0 {
			return fmt.Sprintf("%dM", n>>20)
		}
		return fmt.Sprint(n)
	}
	var all []string
	for _, s := range piece {
		all = append(all, fmt.Sprintf("%s[%s+%s]", s.key, mega(s.off), mega(s.n)))
	}
	return strings.Join(all, "+")
}

// wantAll checks that pieces are spans one after the other, and say rightly which are whole.
func wantAll(t *testing.T, spans []span, pieces [][]span) {
	t.Helper()
	var at span // what has to come next
	rest := slices.Clone(spans)
	for _, s := range slices.Concat(pieces...) {
		if at.n == 0 {
			if len(rest) == 0 {
				t.Fatalf("%+v is too much", s)
			}
			at, rest = rest[0], rest[1:]
		}
		if s.key != at.key || s.off != at.off || s.n <= 0 || s.n > at.n {
			t.Fatalf("got %+v, want the start of %+v", s, at)
		}
		if s.whole && (s.off != 0 || s.n != at.n) {
			t.Errorf("%+v is not whole", s)
		}
		at.off, at.n = at.off+s.n, at.n-s.n
	}
	if at.n > 0 || len(rest) > 0 {
		t.Errorf("%+v and %+v are missing", at, rest)
	}
}

// Very large sources still make no more parts than there may be.
func TestCut_Limit(t *testing.T) {
	var spans []span
	for i := range 50 {
		spans = append(spans, span{key: fmt.Sprint(i), n: 100 << 30, whole: true}) // 5 TiB in all
	}
	pieces := cut(spans)
	if len(pieces) > maxParts {
		t.Errorf("got %d parts, want %d at most", len(pieces), maxParts)
	}
	for _, piece := range pieces {
		if size(piece) > maxCopy {
			t.Errorf("got a part of %d bytes", size(piece))
		}
	}
	wantAll(t, spans, pieces)
}

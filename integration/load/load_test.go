package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// TestMain lets this program start itself as the empty handler, as load does.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == emptyFlag {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
		{nil, math.NaN()},
	} {
		got := median(tt.values)
		if got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
			t.Errorf("median of %v: got %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64((i*7)%200 + 1) // 1 to 200
	}
	for p, want := range map[int]float64{1: 2, 50: 100, 99: 198, 100: 200} {
		if got := percentile(values, p); got != want {
			t.Errorf("%d %%: got %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 99); !math.IsNaN(got) {
		t.Errorf("got %v of nothing", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0.123: "0.12", 1.8: "1.80", 39.04: "39.0", 547.4: "547", 4081: "4,081", 1234567: "1,234,567",
		math.NaN(): "–", math.Inf(1): "–",
	} {
		if got := number(v); got != want {
			t.Errorf("number %v: got %s, want %s", v, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"7": 7, "64KiB": 64 << 10, "512MiB": 512 << 20, "2GiB": 2 << 30} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("size %q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "MiB", "1MB", "99999999GiB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("size %q: got %d, want an error", s, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	stat := "17 (a b) c) S 1 17 17 0 -1 4194304 900 0 3 0 123 45 0 0 20 0 9 0 100 1000 200"
	if got, err := parseStat(stat); err != nil || got != 1680*time.Millisecond {
		t.Errorf("got %v, %v, want 1.68s", got, err)
	}
	if _, err := parseStat("17 (x) S 1"); err == nil {
		t.Error("a short stat is no error")
	}
}

func TestMeasurement(t *testing.T) {
	w := work{ops: 500, bytes: 2 << 30, elapsed: 2 * time.Second, latency: []float64{5, 1, 3}}
	for u, want := range map[unit]measurement{
		perSecond:   {perSecond, 250, 2000},
		megabytes:   {megabytes, 1073.741824, 0.5},
		millisecond: {millisecond, 3, 2000},
		slowest:     {slowest, 5, 2000},
	} {
		if got := u.measurement(w, time.Second); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestBlob(t *testing.T) {
	f := newForge()
	for _, size := range []int64{1, stampSize, blockSize - 1, blockSize, 3*blockSize + 7} {
		b := f.blob(size)
		content, err := io.ReadAll(b.reader())
		if err != nil || int64(len(content)) != size || digestOf(content) != b.digest {
			t.Fatalf("%d bytes: read %d, %v, digest %s, want %s", size, len(content), err, digestOf(content), b.digest)
		}
		if err := iotest.TestReader(b.reader(), content); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := b.compare(iotest.OneByteReader(bytes.NewReader(content)), 0, size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := b.compare(bytes.NewReader(content[size/3:size/2]), size/3, size/2-size/3); err != nil {
			t.Errorf("a part of %d bytes: %v", size, err)
		}
		wrong := bytes.Clone(content)
		wrong[size/2] ^= 1
		for name, r := range map[string]io.Reader{
			"a wrong byte":  bytes.NewReader(wrong),
			"a byte less":   bytes.NewReader(content[:size-1]),
			"a byte more":   bytes.NewReader(append(content, 0)),
			"an early end":  iotest.DataErrReader(io.LimitReader(bytes.NewReader(content), size-1)),
			"another error": iotest.ErrReader(io.ErrUnexpectedEOF),
		} {
			if err := b.compare(r, 0, size); err == nil {
				t.Errorf("%d bytes: %s is no error", size, name)
			}
		}
	}
	if a, b := f.blob(100), f.blob(100); a.digest == b.digest {
		t.Error("two blobs are alike")
	}
}

func TestSpread(t *testing.T) {
	var sum atomic.Int64
	w, err := spread(t.Context(), 3, 0, 100, func(_ context.Context, _, i int) error {
		sum.Add(int64(i))
		return nil
	})
	if err != nil || w.ops != 100 || len(w.latency) != 100 || sum.Load() != 4950 {
		t.Errorf("got %d operations, %d latencies, sum %d, %v, want 100, 100, 4950", w.ops, len(w.latency), sum.Load(), err)
	}
	w, err = spread(t.Context(), 3, time.Millisecond, unlimited, func(context.Context, int, int) error { return nil })
	if err != nil || w.ops == 0 || w.elapsed < time.Millisecond {
		t.Errorf("got %d operations in %v, %v", w.ops, w.elapsed, err)
	}
	broken := errors.New("broken")
	_, err = spread(t.Context(), 3, 0, unlimited, func(_ context.Context, _, i int) error {
		if i == 10 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the operation", err)
	}
}

func TestBeside(t *testing.T) {
	calls := 0
	w, err := beside(t.Context(), func(_ context.Context, i int) error {
		if i != calls {
			t.Errorf("got call %d, want %d", i, calls)
		}
		calls++
		return nil
	}, func(context.Context) (work, error) {
		time.Sleep(time.Millisecond)
		return work{ops: 7}, nil
	})
	if err != nil || w.ops != 7 || calls == 0 {
		t.Errorf("got %d operations, %v, beside %d calls", w.ops, err, calls)
	}
	broken := errors.New("broken")
	_, err = beside(t.Context(), func(context.Context, int) error { return broken }, func(ctx context.Context) (work, error) {
		<-ctx.Done()
		return work{}, nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of what ran beside", err)
	}
}

func TestTables(t *testing.T) {
	get, page := scenarios[5], scenarios[8]
	a, b := &target{name: "a"}, &target{name: "b"}
	r := newResults(&options{scenarios: []scenario{get, page}, base: "b"}, []*target{a, b})
	for _, v := range []float64{100, 300, 200} {
		r.add(get, a, measurement{perSecond, v, 50})
		r.add(get, b, measurement{perSecond, 5 * v, 10})
		r.add(page, b, measurement{unit: millisecond, value: v / 100})
	}
	r.add(page, a, measurement{unit: millisecond, value: 6})
	var out strings.Builder
	r.write(&out)
	want := `| speed | b | a | × as fast as a |
|---|---:|---:|---:|
| GET manifest by tag, 32 clients | 1,000/s | 200/s | 5.00 |
| a page of 100 tags | 2.00 ms | 6.00 ms | 3.00 |

| server CPU for one | b | a | × the CPU of a |
|---|---:|---:|---:|
| GET manifest by tag, 32 clients | 10.0 µs | 50.0 µs | 0.20 |
| a page of 100 tags | – | – | – |
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func small(args ...string) []string {
	return append([]string{"-rounds", "1", "-time", "20ms", "-blob", "1MiB", "-tags", "50", "-images", "20"}, args...)
}

func TestEmpty(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), small("empty"), &out, &errs); code != 0 {
		t.Fatalf("got exit status %d: %s", code, errs.String())
	}
	for _, s := range scenarios {
		if ran := strings.Contains(errs.String(), s.name); ran != (s.onEmpty && !s.asked) {
			t.Errorf("%s: ran is %v, want %v:\n%s", s.name, ran, s.onEmpty && !s.asked, errs.String())
		}
	}
}

// TestCrowd runs what is not run unless it is named.
func TestCrowd(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), small("-scenario", "crowd", "-clients", "5", "empty"), &out, &errs); code != 0 {
		t.Fatalf("got exit status %d: %s", code, errs.String())
	}
	if !strings.Contains(out.String(), "pushes of big blobs at once") {
		t.Errorf("got no crowd in\n%s", out.String())
	}
}

// TestWrongAnswers has a server change one answer, which has to end the run.
func TestWrongAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		scenario string
		wrap     func(http.Handler) http.HandlerFunc
	}{
		"another manifest": {"get-manifest", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				if r.Method == http.MethodGet && r.URL.Path != "/v2/" {
					io.WriteString(w, " ")
				}
			}
		}},
		"a blob that is there before it was pushed": {"images", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodHead {
					next.ServeHTTP(w, r)
				}
			}
		}},
		"another digest": {"push-put", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Docker-Content-Digest", "sha256:00")
				next.ServeHTTP(w, r)
			}
		}},
		"another status": {"push-stream", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPatch {
					w.WriteHeader(http.StatusOK)
				}
				next.ServeHTTP(w, r)
			}
		}},
		"a whole blob for a range": {"ranges", func(next http.Handler) http.HandlerFunc { return next.ServeHTTP }},
		"a blob without bytes":     {"pull-1", func(next http.Handler) http.HandlerFunc { return next.ServeHTTP }},
		"a list without tags": {"tags-page", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/tags/list") {
					io.WriteString(w, `{"tags":[]}`)
					return
				}
				next.ServeHTTP(w, r)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(nil)
			server.Config.Handler = tt.wrap(&emptyHandler{})
			server.Start()
			defer server.Close()
			var errs strings.Builder
			code := run(t.Context(), small("-scenario", tt.scenario, "a="+server.URL), io.Discard, &errs)
			if code != 1 || !strings.Contains(errs.String(), "load: "+tt.scenario) {
				t.Errorf("got exit status %d, want 1: %s", code, errs.String())
			}
		})
	}
}

// TestPeerFails has a target that is not the base give a wrong answer in the second of three rounds: its cell is empty,
// it is not asked again, and nothing else changes.
func TestPeerFails(t *testing.T) {
	var pushes atomic.Int32
	next := &emptyHandler{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/big/blobs/uploads/") && pushes.Add(1) == 2 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		next.ServeHTTP(w, r)
	}))
	defer server.Close()
	var out, errs strings.Builder
	code := run(t.Context(), small("-rounds", "3", "-scenario", "push-put,images", "empty", "peer="+server.URL), &out, &errs)
	if code != 0 {
		t.Fatalf("got exit status %d: %s", code, errs.String())
	}
	var cells []string
	for line := range strings.Lines(out.String()) {
		if columns := strings.Split(line, " | "); len(columns) == 4 {
			cells = append(cells, strings.Trim(columns[2], "0123456789,."))
		}
	}
	if want := []string{"peer", "–", "/s"}; !slices.Equal(cells[:len(want)], want) {
		t.Errorf("got cells %q, want %q, in\n%s", cells, want, out.String())
	}
	if n := strings.Count(errs.String(), "push-put"); n != 5 || strings.Count(errs.String(), "418") != 1 {
		t.Errorf("got %d measurements of push-put, want 3 and 2, the second with the reason:\n%s", n, errs.String())
	}
}

func TestBadArguments(t *testing.T) {
	for _, args := range []string{
		"", "a", "a=nonsense", "a=http://x/path", "a=http://x a=http://y", "-base b a=http://x", "-pid b=1 a=http://x",
		"-scenario none a=http://x", "-rounds 0 a=http://x", "-blob 1MB a=http://x",
	} {
		var errs strings.Builder
		if code := run(t.Context(), strings.Fields(args), io.Discard, &errs); code == 0 {
			t.Errorf("arguments %q: got exit status 0", args)
		}
	}
}

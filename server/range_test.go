package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/registry"
)

func TestParseRange(t *testing.T) {
	many := "bytes=" + strings.Repeat("0-0,", maxRanges)
	for _, tt := range []struct {
		header string
		size   int64
		want   []byteRange // nil: all
		bad    bool
	}{
		{"bytes=0-0", 10, []byteRange{{0, 1}}, false},
		{"bytes=2-5", 10, []byteRange{{2, 4}}, false},
		{"bytes=2-", 10, []byteRange{{2, 8}}, false},
		{"bytes=-3", 10, []byteRange{{7, 3}}, false},
		{"bytes=-30", 10, []byteRange{{0, 10}}, false},
		{"bytes=8-99", 10, []byteRange{{8, 2}}, false},
		{"bytes= 1-2 , 4-5 ,", 10, []byteRange{{1, 2}, {4, 2}}, false},
		{"bytes=0-1,99-100", 10, []byteRange{{0, 2}}, false},
		{"bytes=0-8,1-9", 10, nil, false},
		{many, 1000, nil, false},
		{"bytes=0-0", 0, nil, false},
		{"items=0-0", 10, nil, false},
		{"0-0", 10, nil, false},

		{"bytes=", 10, nil, true},
		{"bytes=,", 10, nil, true},
		{"bytes=-", 10, nil, true},
		{"bytes=-0", 10, nil, true},
		{"bytes=10-", 10, nil, true},
		{"bytes=10-20", 10, nil, true},
		{"bytes=5-4", 10, nil, true},
		{"bytes=a-b", 10, nil, true},
		{"bytes=--1", 10, nil, true},
		{"bytes=+1-2", 10, nil, true},
		{"bytes=1-2-3", 10, nil, true},
		{"bytes=5", 10, nil, true},
		{"bytes=0-1,x", 10, nil, true},
		{"bytes=99999999999999999999-", 10, nil, true},
	} {
		got, err := parseRange(tt.header, tt.size)
		if !slices.Equal(got, tt.want) || (err != nil) != tt.bad {
			t.Errorf("parseRange(%.40q, %d): got %v, %v, want %v, error %t", tt.header, tt.size, got, err, tt.want, tt.bad)
		}
		if e, ok := errors.AsType[*registry.Error](err); tt.bad && (!ok || e.Code != registry.RangeInvalid) {
			t.Errorf("parseRange(%.40q, %d): got error %v, want RANGE_INVALID", tt.header, tt.size, err)
		}
	}
}

// FuzzRange compares with http.ServeContent, which parses what setRange writes.
func FuzzRange(f *testing.F) {
	for _, h := range []string{"bytes=0-0", "bytes=2-", "bytes=-3", "bytes=8-99", "bytes=5-4", "bytes=1-2,4-5", "bytes=-0,0-"} {
		f.Add(h, uint8(10))
	}
	f.Fuzz(func(t *testing.T, header string, length uint8) {
		size := int64(length)
		got, err := parseRange(header, size)
		for _, rg := range got {
			if rg.off < 0 || rg.n <= 0 || rg.off+rg.n > size {
				t.Fatalf("parseRange(%q, %d): got %v", header, size, got)
			}
		}
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Range"] = []string{header}
		setRange(r.Header, got)
		w := httptest.NewRecorder()
		http.ServeContent(w, r, "x.bin", time.Time{}, io.NewSectionReader(strings.NewReader(strings.Repeat("x", 256)), 0, size))
		if (w.Code == http.StatusPartialContent) != (len(got) > 0) || w.Code >= http.StatusBadRequest {
			t.Fatalf("parseRange(%q, %d): got %v, http.ServeContent says %d", header, size, got, w.Code)
		}
		for _, rg := range got {
			want := fmt.Sprintf("bytes %d-%d/%d", rg.off, rg.off+rg.n-1, size)
			if w.Header().Get("Content-Range") != want && !strings.Contains(w.Body.String(), "Content-Range: "+want) {
				t.Fatalf("parseRange(%q, %d): got %v, http.ServeContent has no %s", header, size, got, want)
			}
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for _, tt := range []struct {
		header      string
		first, last int64
		bad         bool
	}{
		{"0-0", 0, 0, false},
		{"0-1048575", 0, 1048575, false},
		{"bytes 5-9", 5, 9, false},
		{"bytes 5-9/10", 5, 9, false},
		{"5-9/*", 5, 9, false},
		{" 5-9 ", 5, 9, false},

		{"", 0, 0, true},
		{"-", 0, 0, true},
		{"5", 0, 0, true},
		{"5-", 0, 0, true},
		{"-5", 0, 0, true},
		{"9-5", 0, 0, true},
		{"0--1", 0, 0, true},
		{"+0-1", 0, 0, true},
		{"0x0-0x1", 0, 0, true},
		{"bytes=0-1", 0, 0, true},
		{"bytes */10", 0, 0, true},
		{"5-9/9", 0, 0, true},
		{"5-9/x", 0, 0, true},
		{"0-9223372036854775807", 0, 0, true},
		{"99999999999999999999-99999999999999999999", 0, 0, true},
	} {
		first, last, err := parseContentRange(tt.header)
		if first != tt.first || last != tt.last || (err != nil) != tt.bad {
			t.Errorf("parseContentRange(%q): got %d, %d, %v, want %d, %d, error %t", tt.header, first, last, err, tt.first, tt.last, tt.bad)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, h := range []string{"0-0", "bytes 5-9/10", "5-9/*", "9-5", "0-9223372036854775807"} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, header string) {
		first, last, err := parseContentRange(header)
		if err != nil {
			return
		}
		if first < 0 || last < first || last-first+1 <= 0 {
			t.Fatalf("parseContentRange(%q): got %d, %d", header, first, last)
		}
		again, again2, err := parseContentRange(fmt.Sprintf("%d-%d", first, last))
		if again != first || again2 != last || err != nil {
			t.Fatalf("parseContentRange of %d-%d: got %d, %d, %v", first, last, again, again2, err)
		}
	})
}

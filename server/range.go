package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/registry"
)

// maxRanges bounds the ranges of one request, since each is a read of the back end. More are answered with the whole.
const maxRanges = 100

// A byteRange is n bytes from byte off on.
type byteRange struct{ off, n int64 }

// requestRanges returns the ranges that r asks for of the size bytes with digest d; none means all of them.
func requestRanges(r *http.Request, d digest.Digest, size int64) ([]byteRange, error) {
	h := r.Header.Get("Range")
	if h == "" {
		return nil, nil
	}
	if c := r.Header.Get("If-Range"); c != "" && c != `"`+string(d)+`"` {
		return nil, nil
	}
	return parseRange(h, size)
}

// parseRange parses a Range header for size bytes as http.ServeContent does, but for three cases: a unit other than
// bytes is ignored, as RFC 9110 has it; the last 0 bytes cannot be had; and many ranges are too many. The error has
// the code RANGE_INVALID.
func parseRange(header string, size int64) ([]byteRange, error) {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok || size == 0 || strings.Count(list, ",") >= maxRanges {
		return nil, nil
	}
	var ranges []byteRange
	var sum int64
	for spec := range strings.SplitSeq(list, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		rg, ok := parseRangeSpec(spec, size)
		if !ok {
			return nil, rangeError(header, size)
		}
		if rg.n > 0 { // else it begins past the end
			ranges = append(ranges, rg)
			sum += rg.n
		}
	}
	if len(ranges) == 0 {
		return nil, rangeError(header, size)
	}
	if sum > size {
		return nil, nil // the whole is cheaper
	}
	return ranges, nil
}

// setRange writes ranges into the header h of a request, so that http.ServeContent comes to the same decision.
func setRange(h http.Header, ranges []byteRange) {
	if len(ranges) == 0 {
		delete(h, "Range")
		return
	}
	v := []byte("bytes=")
	for i, rg := range ranges {
		if i > 0 {
			v = append(v, ',')
		}
		v = strconv.AppendInt(v, rg.off, 10)
		v = append(v, '-')
		v = strconv.AppendInt(v, rg.off+rg.n-1, 10)
	}
	h["Range"] = []string{string(v)}
}

func rangeError(header string, size int64) error {
	return &registry.Error{Code: registry.RangeInvalid,
		Message: fmt.Sprintf("range %.100q is not one of %d bytes", header, size)}
}

// parseRangeSpec parses first-last, first- or -length. It returns no bytes for a range past the end.
func parseRangeSpec(spec string, size int64) (byteRange, bool) {
	from, to, ok := strings.Cut(spec, "-")
	from, to = strings.Trim(from, " \t"), strings.Trim(to, " \t")
	if !ok || from == "" && to == "" {
		return byteRange{}, false
	}
	if from == "" {
		n, ok := parseOffset(to)
		n = min(n, size)
		return byteRange{size - n, n}, ok
	}
	first, ok := parseOffset(from)
	if !ok {
		return byteRange{}, false
	}
	last := size - 1
	if to != "" {
		l, ok := parseOffset(to)
		if !ok || l < first {
			return byteRange{}, false
		}
		last = min(last, l)
	}
	return byteRange{first, max(last-first+1, 0)}, true
}

// parseContentRange parses the Content-Range of a chunk (end-5), "first-last". It accepts what HTTP has around it,
// too: "bytes " before and "/total" behind.
func parseContentRange(header string) (first, last int64, err error) {
	s := strings.TrimPrefix(strings.TrimSpace(header), "bytes ")
	s, total, hasTotal := strings.Cut(s, "/")
	from, to, ok := strings.Cut(strings.TrimSpace(s), "-")
	first, ok1 := parseOffset(from)
	last, ok2 := parseOffset(to)
	if hasTotal && total != "*" {
		n, okTotal := parseOffset(total)
		ok = ok && okTotal && last < n
	}
	if !ok || !ok1 || !ok2 || last < first {
		return 0, 0, &registry.Error{Code: registry.RangeInvalid,
			Message: fmt.Sprintf("content range %.100q is not one of first-last", header)}
	}
	return first, last, nil
}

// parseOffset parses digits. The result is small enough to be added to another one.
func parseOffset(s string) (int64, bool) {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 63)
	return n, err == nil
}

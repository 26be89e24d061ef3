package flavors

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setScalar sets a field that is no string from text, or says what the field wants. Where YAML 1.1 and 1.2 differ, it
// reads what either of them would.
func setScalar(dst field, v value) (want string, ok bool) {
	text, kind := v.text, dst.Kind()
	if v.kind != scalar {
		text = "" // which is none of these
	}
	switch {
	case kind == reflect.String:
		return "text", false
	case kind == reflect.Struct, kind == reflect.Map:
		return "a group of keys", false
	case kind == reflect.Slice:
		return "a list such as [a, b]", false
	case kind == reflect.Bool:
		return "true or false", setBool(dst, text)
	case dst.Type() == reflect.TypeFor[time.Duration]():
		n, ok := parseDuration(text)
		dst.SetInt(int64(n))
		return "a duration such as 90s, 15m or a number of seconds", ok
	case dst.bytes:
		n, ok := ParseBytes(text)
		dst.SetInt(n)
		return "a size such as 1024, 64MiB or 1.5GB", ok
	case dst.CanInt():
		n, err := strconv.ParseInt(text, 0, dst.Type().Bits()) // base 0 reads 0x1F and 1_000 as YAML does
		dst.SetInt(n)
		return "a whole number", err == nil
	case dst.CanFloat():
		x, err := strconv.ParseFloat(text, dst.Type().Bits())
		dst.SetFloat(x)
		return "a number", err == nil
	}
	panic(fmt.Sprintf("flavors: a field of type %s cannot be set from a configuration", dst.Type()))
}

func setBool(dst field, text string) bool {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		dst.SetBool(true)
	case "false", "no", "off", "0":
		dst.SetBool(false)
	default:
		return false
	}
	return true
}

func parseDuration(text string) (time.Duration, bool) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		d := time.Duration(seconds) * time.Second
		return d, d/time.Second == time.Duration(seconds)
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// ParseBytes reads a size: a number, and a unit of powers of 1000 (kB, MB, …) or 1024 (KiB, MiB, …).
func ParseBytes(text string) (int64, bool) {
	digits := strings.TrimRight(text, "BKMGTbkmgti ")
	x, err := strconv.ParseFloat(digits, 64)
	unit := 1.0
	switch strings.ToLower(strings.TrimSpace(text[len(digits):])) {
	case "", "b":
	case "kb":
		unit = 1e3
	case "mb":
		unit = 1e6
	case "gb":
		unit = 1e9
	case "tb":
		unit = 1e12
	case "kib":
		unit = 1 << 10
	case "mib":
		unit = 1 << 20
	case "gib":
		unit = 1 << 30
	case "tib":
		unit = 1 << 40
	default:
		return 0, false
	}
	x *= unit
	return int64(x), err == nil && x >= 0 && x < math.MaxInt64
}

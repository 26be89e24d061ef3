package doctor

import "time"

const (
	// skewWarn is more than clocks differ that are kept right, and than times without fractions make up.
	skewWarn = 5 * time.Second
	// skewFail is what tokens, leases and signatures do not bear.
	skewFail = time.Minute
)

// skew is how far a clock is ahead of this process's, which read before and after while the other said at. A clock that
// tells no fractions of a second is right if it is less than one behind.
func skew(at, before, after time.Time) time.Duration {
	switch {
	case at.After(after):
		return at.Sub(after)
	case at.Add(time.Second).Before(before):
		return at.Sub(before)
	}
	return 0
}

// Clock reports how far a clock is ahead of this process's, or behind if that is less than nothing.
func Clock(r *Report, check, whose string, ahead time.Duration) {
	how, by := "ahead of", ahead
	if ahead < 0 {
		how, by = "behind", -ahead
	}
	const fix = "have both kept right by NTP (chronyc tracking, timedatectl)"
	switch {
	case by >= skewFail:
		r.Fail(check, fix, "%s is %v %s this machine's", whose, by.Round(time.Second), how)
	case by >= skewWarn:
		r.Warn(check, fix, "%s is %v %s this machine's", whose, by.Round(time.Second), how)
	default:
		r.OK(check, "%s agrees with this machine's", whose)
	}
}

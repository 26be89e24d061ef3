package server

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/parfait-registry/parfait/registry"
)

// limits bound what one client takes of the server. Those that are off are nil.
type limits struct {
	addresses, users            *throttle
	addressUploads, userUploads *tally
}

// newLimits returns the limits of cfg. Those that are as before go on counting where they were.
func newLimits(cfg Config, before limits) limits {
	return limits{
		addresses:      newThrottle(cfg.MaxRequestsPerAddress, before.addresses),
		users:          newThrottle(cfg.MaxRequestsPerUser, before.users),
		addressUploads: newTally(cfg.MaxUploadsPerAddress, before.addressUploads),
		userUploads:    newTally(cfg.MaxUploadsPerUser, before.userUploads),
	}
}

// limitAddresses refuses requests of an address that sends too many, before a password is looked at. Probes are let
// through.
func (s *Server) limitAddresses(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := wrap(w)
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			if err := s.limits.addresses.take(w, addressKey(rw.clientAddr(r))); err != nil {
				s.writeError(rw, r, err)
				return
			}
		}
		next.ServeHTTP(rw, r)
	})
}

// limitUser refuses a request of a user who sends too many.
func (s *Server) limitUser(w *response) error {
	user := w.client.User()
	if s.limits.users == nil || user == "" {
		return nil
	}
	return s.limits.users.take(w, user)
}

// limitUploads counts a body that is about to be taken. The caller calls done when it has been.
func (s *Server) limitUploads(w *response, r *http.Request, needs scope) (done func(), err error) {
	done = func() {}
	if needs != scopePush || r.ContentLength == 0 || s.limits.addressUploads == nil && s.limits.userUploads == nil {
		return done, nil
	}
	endAddress, err := s.limits.addressUploads.begin(w, addressKey(w.clientAddr(r)))
	if err != nil {
		return done, err
	}
	user := w.client.User()
	if user == "" {
		return endAddress, nil
	}
	endUser, err := s.limits.userUploads.begin(w, user)
	if err != nil {
		endAddress()
		return done, err
	}
	return func() { endUser(); endAddress() }, nil
}

// addressKey is what a client is counted under: its address, of which IPv6 gives everybody 2⁶⁴.
func addressKey(addr netip.Addr) string {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// A throttle bounds how often each of many may ask. Who has not asked for a while may do so more often at once.
type throttle struct {
	perSecond float64
	mu        sync.Mutex
	seen      *lru.Cache[string, *rate.Limiter] // used under mu
}

const (
	throttleBurst = 10      // seconds: what one may ask in them, one may ask at once
	throttleMost  = 1 << 16 // who are remembered; whoever is forgotten starts anew
)

// newThrottle returns nil if perSecond is no bound, and before if that has the same one.
func newThrottle(perSecond float64, before *throttle) *throttle {
	switch {
	case perSecond <= 0:
		return nil
	case before != nil && before.perSecond == perSecond:
		return before
	}
	seen, err := lru.New[string, *rate.Limiter](throttleMost)
	if err != nil {
		panic(err) // the size is a constant
	}
	return &throttle{perSecond: perSecond, seen: seen}
}

// take counts a request, or returns why it is refused, and says in w when to ask again.
func (t *throttle) take(w http.ResponseWriter, key string) error {
	t.mu.Lock()
	l, ok := t.seen.Get(key)
	if !ok {
		l = rate.NewLimiter(rate.Limit(t.perSecond), max(1, int(t.perSecond*throttleBurst)))
		t.seen.Add(key, l)
	}
	t.mu.Unlock()
	now := time.Now()
	reservation := l.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return &registry.Error{Code: registry.TooManyRequests,
		Message: fmt.Sprintf("too many requests: %v a second are allowed", t.perSecond)}
}

// A tally bounds how much each of many may do at once. A nil tally bounds nothing.
type tally struct {
	most int
	mu   sync.Mutex
	busy map[string]int // guarded by mu
}

// newTally returns nil if most is no bound, and before if that has the same one.
func newTally(most int, before *tally) *tally {
	switch {
	case most <= 0:
		return nil
	case before != nil && before.most == most:
		return before
	}
	return &tally{most: most, busy: make(map[string]int)}
}

// begin counts one more, which ends with a call of end, or returns why it may not begin.
func (t *tally) begin(w http.ResponseWriter, key string) (end func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[key] >= t.most {
		w.Header().Set("Retry-After", retryAfter)
		return nil, &registry.Error{Code: registry.TooManyRequests, Message: fmt.Sprintf("too many uploads at once: %d are allowed", t.most)}
	}
	t.busy[key]++
	return func() { t.end(key) }, nil
}

func (t *tally) end(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[key]--; t.busy[key] == 0 {
		delete(t.busy, key)
	}
}

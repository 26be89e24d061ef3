package events

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/registry"
)

// Config says who is told of what. The zero value of a field means its default. The names are those of registry:2.
type Config struct {
	// Endpoints are who is told. Default: nobody.
	Endpoints []Endpoint `yaml:"endpoints"`

	// MaxAge is how long an event waits for an endpoint that does not take it, before it is dropped. Default: 168h.
	MaxAge time.Duration `yaml:"max_age"`

	// MaxQueued is how many events wait for one endpoint. Within a minute, the oldest ones are dropped if there are more.
	// Default: 100000.
	MaxQueued int `yaml:"max_queued"`

	// Events says what is in an event.
	Events Content `yaml:"events"`

	// Port is that which this process listens on, for the source of events.
	Port string `yaml:"-"`

	// Observe, if set, is told what becomes of n events for an endpoint. That of pulls that were lost before they were
	// queued is "".
	Observe func(endpoint string, what Outcome, n int) `yaml:"-"`

	// Waiting, if set, is told every TrimInterval how many events wait for an endpoint, and for how long the oldest has.
	// Those that are too old or too many, and dropped next, are among them.
	Waiting func(endpoint string, n int, oldest time.Duration) `yaml:"-"`

	// TrimInterval is how often too old and too many events are looked for, PollInterval how often those that other
	// processes have queued, and LeaseLife how long an endpoint waits when the process that tells it is killed. Default:
	// 1m, 1s and 15s.
	TrimInterval, PollInterval, LeaseLife time.Duration `yaml:"-"`
}

// Content says what is in an event.
type Content struct {
	// IncludeReferences lists what a manifest names in the events of that. Default: false.
	IncludeReferences bool `yaml:"includereferences"`
}

// An Outcome is what becomes of an event.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered"
	Failed    Outcome = "failed"  // once; it is tried again
	Dropped   Outcome = "dropped" // the endpoint is never told
)

// Ignore says which events are kept from an endpoint.
type Ignore struct {
	// MediaTypes are those of content that the endpoint is not told of. Default: none.
	MediaTypes []string `yaml:"mediatypes"`
	// Actions are those that the endpoint is not told of: push, pull, delete, mount. Default: none.
	Actions []string `yaml:"actions"`
}

// An Endpoint is a URL that events are sent to by POST, one in a request.
type Endpoint struct {
	// Name is for the log, and for the queue: what waits for a name goes to whatever URL that has. Default: the host of
	// the URL.
	Name string `yaml:"name"`

	// URL is where the events go. Redirects are not followed: headers would go with them.
	URL string `yaml:"url" flavor:"secret"`

	// Headers go with each request.
	Headers map[string][]string `yaml:"headers" flavor:"secret"`

	// Timeout bounds a request. Default: 1s.
	Timeout time.Duration `yaml:"timeout"`

	// Threshold is how often in a row the endpoint may fail before it is left alone for a while, and Backoff about how long
	// that is. Default: 10 and 1s.
	Threshold int           `yaml:"threshold"`
	Backoff   time.Duration `yaml:"backoff"`

	// Disabled queues nothing and tells nothing.
	Disabled bool `yaml:"disabled"`

	// Ignore says of which events the endpoint is not told.
	Ignore Ignore `yaml:"ignore"`
	// IgnoredMediaTypes is an older name of ignore.mediatypes. Default: none.
	IgnoredMediaTypes []string `yaml:"ignoredmediatypes"`

	// Format is registry2, for the envelope of the image registry:2; registry3, which is the same with another
	// Content-Type; or cloudevents, for CloudEvents 1.0 in JSON. Default: registry2.
	Format Format `yaml:"format"`
}

func (c Config) withDefaults() Config {
	c.MaxAge = cmp.Or(max(c.MaxAge, 0), 7*24*time.Hour)
	c.MaxQueued = cmp.Or(max(c.MaxQueued, 0), 100_000)
	c.TrimInterval = cmp.Or(c.TrimInterval, time.Minute)
	c.PollInterval = cmp.Or(c.PollInterval, time.Second)
	c.LeaseLife = cmp.Or(c.LeaseLife, 15*time.Second)
	if c.Observe == nil {
		c.Observe = func(string, Outcome, int) {}
	}
	if c.Waiting == nil {
		c.Waiting = func(string, int, time.Duration) {}
	}
	c.Endpoints = slices.Clone(c.Endpoints)
	for i := range c.Endpoints {
		c.Endpoints[i] = c.Endpoints[i].withDefaults()
	}
	return c
}

func (e Endpoint) withDefaults() Endpoint {
	if u, err := url.Parse(e.URL); err == nil {
		e.Name = cmp.Or(e.Name, u.Host)
	}
	e.Timeout = cmp.Or(max(e.Timeout, 0), time.Second)
	e.Threshold = cmp.Or(max(e.Threshold, 0), 10)
	e.Backoff = cmp.Or(max(e.Backoff, 0), time.Second)
	e.Format = cmp.Or(e.Format, Registry2)
	return e
}

// wants reports whether the endpoint is to be told of an act.
func (e *Endpoint) wants(act registry.Act) bool {
	return !slices.Contains(e.Ignore.Actions, string(act.Action)) &&
		!slices.Contains(e.Ignore.MediaTypes, act.MediaType) && !slices.Contains(e.IgnoredMediaTypes, act.MediaType)
}

// Check returns what is wrong with c. It shows neither URLs nor headers, which may have secrets.
func (c Config) Check() error {
	if c.MaxAge < 0 || c.MaxQueued < 0 {
		return errors.New("notifications: max_age and max_queued are not less than nothing: leave them out for 168h and 100000")
	}
	names := make(map[string]bool)
	for i, e := range c.Endpoints {
		u, err := url.Parse(e.URL)
		named := cmp.Or(e.Name, fmt.Sprintf("number %d", i+1))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("notifications.endpoints: %s: its url is none that begins with http:// or https:// and a host", named)
		}
		e = e.withDefaults()
		if names[e.Name] {
			return fmt.Errorf("notifications.endpoints: two are named %q, by which their events are kept apart: give each a name", e.Name)
		}
		names[e.Name] = true
		if err := e.check(); err != nil {
			return fmt.Errorf("notifications.endpoints: %s: %w", e.Name, err)
		}
	}
	return nil
}

func (e Endpoint) check() error {
	for _, action := range e.Ignore.Actions {
		if !slices.Contains([]registry.Action{registry.Push, registry.Pull, registry.Mount, registry.Delete}, registry.Action(action)) {
			return fmt.Errorf("ignore.actions: %q is none of push, pull, mount and delete", action)
		}
	}
	if e.Format.contentType() == "" {
		return fmt.Errorf("format: %q is none of registry2, registry3 and cloudevents", e.Format)
	}
	for name, values := range e.Headers {
		// A request that cannot be sent is found before there is an event.
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`:"(),/;<=>?@[\]{}`, r) }) {
			return fmt.Errorf("headers: %q is no name of a header", name)
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("headers: the value of %s has characters that none may have, such as an end of line", http.CanonicalHeaderKey(name))
			}
		}
	}
	return nil
}

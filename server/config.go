package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/registry"
)

// Config says how the registry looks from outside. The zero value of a field means its default.
type Config struct {
	// Issue is what GET / answers, as a JSON string. Default: docker-registry server.
	Issue string `yaml:"issue"`

	// HTTPAddr is the address to listen on, host:port. The command listens, not the server. Default: 0.0.0.0:5000.
	HTTPAddr string `yaml:"http_addr"`

	// HTTPHost is the URL under which clients reach the registry, such as https://registry.example.com, for absolute
	// Location headers. Without a scheme, that of the request is taken. Default: scheme and host of the request.
	HTTPHost string `yaml:"http_host"`

	// HTTPRelativeURLs makes Location headers paths, without scheme and host. HTTPHost has no effect then.
	HTTPRelativeURLs bool `yaml:"http_relativeurls"`

	// TrustedProxies are addresses and networks, such as 10.0.0.0/8, of proxies that are taken at their word about how a
	// client came: X-Forwarded-For, -Proto and -Host, or Forwarded. Default: this machine, 127.0.0.0/8 and ::1.
	TrustedProxies []string `yaml:"trusted_proxies" flavor:"texts"`

	// NginxXAccelRedirect is where nginx, a trusted proxy, serves the folder of storage: local as an internal location;
	// it is told there which blobs to send itself. Default: blobs are sent from here.
	NginxXAccelRedirect string `yaml:"nginx_x_accel_redirect"`

	// MaxPageSize bounds how many tags, repositories or referrers one answer lists, whatever n a client asks for.
	// Default: 1000.
	MaxPageSize int `yaml:"max_page_size"`

	// HTTP2Disabled leaves HTTP/2 to others, which is spoken by TLS, and H2CEnabled speaks it without TLS, too. The
	// command does either.
	HTTP2Disabled bool `yaml:"http_http2_disabled"`
	H2CEnabled    bool `yaml:"http_h2c_enabled"`

	// HeaderTimeout bounds how long a client may take for the header of a request, and IdleTimeout how long a connection
	// may wait for the next request. The command sets them. Default: 30s and 2m.
	HeaderTimeout time.Duration `yaml:"http_header_timeout"`
	IdleTimeout   time.Duration `yaml:"http_idle_timeout"`

	// BodyTimeout bounds for how long a client may send nothing of a body, and MinUploadRate, in bytes a second, is what it
	// has to come up to over a time as long as that. Default: 5m and 100.
	BodyTimeout   time.Duration `yaml:"http_body_timeout"`
	MinUploadRate int64         `yaml:"min_upload_rate" flavor:"bytes"`

	// MaxRequestsPerAddress and MaxRequestsPerUser bound the requests that one address, or one user who has logged in, may
	// send in a second; those of ten seconds may come at once. Addresses of IPv6 count by networks of /64. Default: any
	// number.
	MaxRequestsPerAddress float64 `yaml:"max_requests_per_address"`
	MaxRequestsPerUser    float64 `yaml:"max_requests_per_user"`

	// MaxUploadsPerAddress and MaxUploadsPerUser bound the requests with a blob or a manifest that are served at the same
	// time. Default: any number.
	MaxUploadsPerAddress int `yaml:"max_uploads_per_address"`
	MaxUploadsPerUser    int `yaml:"max_uploads_per_user"`

	// CORS says what scripts of other web sites may ask for.
	CORS CORSConfig `yaml:"cors"`

	// DrainTimeout bounds how long a stopping server waits for requests in flight. The command waits, not the server.
	// Default: 30s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// SearchBackend turns search off, and with it the list on the page at /, if it is "none" or "false". Any other
	// value, such as the original sqlalchemy, means the index of the registry. Default: on.
	SearchBackend string `yaml:"search_backend"`

	// Debug makes /v1/_ping tell versions, host and flavor.
	Debug bool `yaml:"debug"`

	// Flavor names the configuration in use, for /v1/_ping, and Version the program, for that and the page at /. The
	// command sets them.
	Flavor, Version string `yaml:"-"`

	// Audit gets a line for each push, delete, login that failed and request that was denied. Nil is no audit. The command
	// sets it.
	Audit *slog.Logger `yaml:"-"`

	// Measure, unless it is nil, is called once for each pattern of paths, and with "" for paths that match none. What it
	// returns is called at the end of each such request, by many goroutines at the same time. The command sets it.
	Measure func(pattern string) func(Request) `yaml:"-"`

	// Trace, unless it is nil, is called at the beginning of each request, and what it returns at its end. The context takes
	// the place of the request's. The command sets it.
	Trace func(r *http.Request) (ctx context.Context, end func(Request)) `yaml:"-"`

	// Metrics answers GET /metrics. Nil is no such path. The command sets it.
	Metrics http.Handler `yaml:"-"`

	// Witness is told what clients do. Nil is nobody. The command sets it.
	Witness registry.Witness `yaml:"-"`
}

// WithDefaults returns c with the defaults in the place of zero values.
func (c Config) WithDefaults() Config {
	if c.Issue == "" {
		c.Issue = "docker-registry server"
	}
	if c.HTTPAddr == "" {
		c.HTTPAddr = "0.0.0.0:5000"
	}
	if c.MaxPageSize <= 0 {
		c.MaxPageSize = 1000
	}
	c.HeaderTimeout = orUsual(c.HeaderTimeout, 30*time.Second)
	c.IdleTimeout = orUsual(c.IdleTimeout, 2*time.Minute)
	c.BodyTimeout = orUsual(c.BodyTimeout, 5*time.Minute)
	if c.MinUploadRate <= 0 {
		c.MinUploadRate = 100
	}
	c.DrainTimeout = orUsual(c.DrainTimeout, 30*time.Second)
	return c
}

// orUsual returns d, or usual if d is not set.
func orUsual(d, usual time.Duration) time.Duration {
	if d <= 0 {
		return usual
	}
	return d
}

// Check returns what is wrong with c.
func (c Config) Check() error {
	if p := c.NginxXAccelRedirect; p != "" && (p[0] != '/' || strings.ContainsAny(p, " \r\n")) {
		return fmt.Errorf("nginx_x_accel_redirect: %q is no path of a location, such as /blobs", p)
	}
	_, err := parseProxies(c.TrustedProxies)
	return err
}

func (c Config) searchable() bool { return c.SearchBackend != "none" && c.SearchBackend != "false" }

package gcs

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Config has the keys of a flavor that are for Google Cloud Storage. Make one with [NewConfig].
type Config struct {
	// Bucket is the bucket. It has to exist.
	Bucket string `yaml:"gcs_bucket"`
	// BotoBucket is the older name of Bucket. Both may be set to the same.
	BotoBucket string `yaml:"boto_bucket"`
	// Path is a prefix of all names in the bucket. Default: none.
	Path string `yaml:"storage_path"`

	// Keyfile is the path of a service account's key, in JSON. Default: application default credentials, which are
	// those of GOOGLE_APPLICATION_CREDENTIALS, of gcloud, or of the machine.
	Keyfile string `yaml:"gcs_keyfile"`
	// Endpoint is the URL of an emulator or of a private endpoint. Nothing but signatures is made with credentials for
	// one that is not https. Default: STORAGE_EMULATOR_HOST, which never sees credentials, or Google's own.
	Endpoint string `yaml:"gcs_endpoint"`
	// Secure says to speak https, for an Endpoint without a scheme. Default: true. Google's own takes no less.
	Secure bool `yaml:"gs_secure"`

	// AccessKey and SecretKey are interoperability keys: see Interoperable.
	AccessKey string `yaml:"gs_access_key" flavor:"secret"`
	SecretKey string `yaml:"gs_secret_key" flavor:"secret"`
	// OAuth2 says to ignore the interoperability keys. Default: false.
	OAuth2 bool `yaml:"oauth2"`

	// PartSize is how many bytes of an object go up in one request. Default: 16MiB.
	PartSize int64 `yaml:"storage_part_size" flavor:"bytes"`
	// Buffers bounds the memory of all uploads together, in bytes. Default: 256MiB.
	Buffers int64 `yaml:"storage_buffers" flavor:"bytes"`
}

// NewConfig returns the defaults.
func NewConfig() Config { return Config{Secure: true} }

const google = "storage.googleapis.com"

// Interoperable reports whether the flavor has interoperability keys to go by, and so is one for the S3 driver, with
// what [Config.Interop] says.
func (c Config) Interoperable() bool {
	return (c.AccessKey != "" || c.SecretKey != "") && !c.OAuth2 && c.Keyfile == ""
}

// An Interop says how the S3 driver reaches the bucket.
type Interop struct {
	Endpoint             string // URL
	Region               string
	Bucket, Path         string
	AccessKey, SecretKey string
	Secure               bool // as Endpoint is
	PartSize, Buffers    int64
}

// Interop returns what the S3 driver needs. Errors name the key of the flavor to change.
func (c Config) Interop() (Interop, error) {
	bucket, err := c.bucket()
	if err != nil {
		return Interop{}, err
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return Interop{}, errors.New("gs_access_key, gs_secret_key: one is set without the other")
	}
	u := &url.URL{Scheme: scheme(c.Secure), Host: google}
	if c.Endpoint != "" {
		if u, err = parseEndpoint("gcs_endpoint", c.Endpoint, c.Secure); err != nil {
			return Interop{}, err
		}
	}
	return Interop{
		Endpoint: u.String(), Region: "auto", Secure: u.Scheme == "https",
		Bucket: bucket, Path: c.Path, AccessKey: c.AccessKey, SecretKey: c.SecretKey,
		PartSize: c.PartSize, Buffers: c.Buffers,
	}, nil
}

// bucket returns the one bucket that the two keys name.
func (c Config) bucket() (string, error) {
	switch {
	case c.Bucket == "" && c.BotoBucket == "":
		return "", errors.New("gcs_bucket: no bucket is named")
	case c.Bucket != "" && c.BotoBucket != "" && c.Bucket != c.BotoBucket:
		return "", fmt.Errorf("gcs_bucket, boto_bucket: they name two buckets, %q and %q: keep one", c.Bucket, c.BotoBucket)
	case c.Bucket != "":
		return c.Bucket, nil
	}
	return c.BotoBucket, nil
}

// A server is where the bucket is.
type server struct {
	*url.URL        // without a path
	key      string // of the flavor, that has the URL; or the variable
	emulator bool
}

// server finds it in the flavor or the environment.
func (c Config) server() (server, error) {
	if c.Endpoint != "" {
		u, err := parseEndpoint("gcs_endpoint", c.Endpoint, c.Secure)
		return server{URL: u, key: "gcs_endpoint"}, err
	}
	const variable = "STORAGE_EMULATOR_HOST"
	if host := os.Getenv(variable); host != "" {
		u, err := parseEndpoint(variable, host, false)
		return server{URL: u, key: variable, emulator: true}, err
	}
	if !c.Secure {
		return server{}, errors.New("gs_secure: Google takes no credentials without https; false is for one's own gcs_endpoint")
	}
	return server{URL: &url.URL{Scheme: "https", Host: google}, key: "gcs_endpoint"}, nil
}

// trusted reports whether credentials may be sent to the server.
func (s server) trusted() bool { return s.Scheme == "https" && !s.emulator }

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// parseEndpoint parses host:port or a URL, which may end in the path that the API has at Google.
func parseEndpoint(key, endpoint string, secure bool) (*url.URL, error) {
	text := endpoint
	if !strings.Contains(text, "://") {
		text = scheme(secure) + "://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https", u.User != nil, u.RawQuery != "":
		return nil, fmt.Errorf("%s: %q is no URL of a server, such as http://localhost:4443", key, endpoint)
	}
	if path := strings.Trim(u.Path, "/"); path != "" && path != "storage/v1" {
		return nil, fmt.Errorf("%s: %q has a path; name the server alone", key, endpoint)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

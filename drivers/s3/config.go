package s3

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

// Config is what a flavor says about this driver. Begin with [NewConfig].
type Config struct {
	// Bucket is the bucket, which has to exist. No default.
	Bucket string `yaml:"s3_bucket"`
	// BotoBucket is an older name of Bucket.
	BotoBucket string `yaml:"boto_bucket"`
	// Path is the prefix of all keys. A slash means none. Default: none.
	Path string `yaml:"storage_path"`
	// Region is where the bucket is, such as eu-west-1. Default: what Amazon's tools are set to, else what the server
	// says of the bucket.
	Region string `yaml:"s3_region"`
	// AccessKey and SecretKey are the credentials. Default: where Amazon's tools look for them.
	AccessKey string `yaml:"s3_access_key" flavor:"secret"`
	SecretKey string `yaml:"s3_secret_key" flavor:"secret"`

	// Endpoint is the URL of a server that is not Amazon's, with https unless it says http. Default: Amazon's.
	Endpoint string `yaml:"s3_endpoint"`
	// BotoHost and BotoPort are host and port of such a server. Endpoint wins.
	BotoHost string `yaml:"boto_host"`
	BotoPort string `yaml:"boto_port"`
	// Secure says whether to speak https where no URL does. Default: true.
	Secure bool `yaml:"s3_secure"`
	// ForcePathStyle puts the bucket into the path of a URL, and not into the host name. That is the default except
	// on Amazon.
	ForcePathStyle bool `yaml:"s3_force_path_style"`
	// BotoCallingFormat decides the same by the name of a Python class: boto.s3.connection.OrdinaryCallingFormat is the
	// path, boto.s3.connection.SubdomainCallingFormat the host name.
	BotoCallingFormat string `yaml:"boto_calling_format"`
	// SignPayload has requests sign what they store, so that the server notices when it arrives otherwise: true, false, or
	// auto, which is true without https, that takes care of it. It costs the server a check sum, and Parfait one only where
	// the processor has no instructions for SHA-256. Default: auto.
	SignPayload string `yaml:"s3_sign_payload"`
	// PublicEndpoint is the URL to sign redirects for, if clients reach the server by another one. Default: Endpoint.
	PublicEndpoint string `yaml:"s3_public_endpoint"`

	// Encrypt has the server encrypt what it stores, with keys of its own: true, false, or auto, which is true if the
	// server can. Default: auto.
	Encrypt string `yaml:"s3_encrypt"`
	// KMSKey is the id of the key in KMS to encrypt with. Default: none.
	KMSKey string `yaml:"s3_kms_key"`
	// StorageClass is the class of all objects, such as STANDARD_IA. Default: the bucket's.
	StorageClass string `yaml:"s3_storage_class"`

	// PartSize is how many bytes large objects are uploaded in at a time. An object has at most 10,000 parts.
	// Default: 16MiB.
	PartSize int64 `yaml:"storage_part_size" flavor:"bytes"`
	// Buffers bounds the memory for parts that are being uploaded, in bytes. Default: 256MiB.
	Buffers int64 `yaml:"storage_buffers" flavor:"bytes"`
}

// NewConfig returns a Config with the defaults.
func NewConfig() Config {
	return Config{Secure: true, Encrypt: choiceAuto, SignPayload: choiceAuto}
}

// The values of keys that leave it to the driver.
const (
	choiceAuto  = "auto"
	choiceTrue  = "true"
	choiceFalse = "false"
)

// settings are a Config that makes sense, less the credentials.
type settings struct {
	bucket, bucketKey     string // bucketKey and endpointKey are the keys of the flavor that named them
	endpoint, endpointKey string // URL; "" for Amazon's
	amazon                bool
	secure                bool // whether to speak https
	signPayload           bool
	pathStyle             bool
	public                string // URL; "" for endpoint
	prefix                string
	region                string
	encrypt               string
	kmsKey, storageClass  string
	pool                  *parts.Pool
}

// settings checks the configuration. Errors begin with the key of the flavor to change.
func (c Config) settings() (*settings, error) {
	s := &settings{secure: c.Secure, region: c.Region, kmsKey: c.KMSKey, storageClass: c.StorageClass}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return nil, errors.New("s3_access_key and s3_secret_key: one is set without the other")
	}
	var err error
	if s.prefix, err = drivers.Prefix(c.Path); err != nil {
		return nil, err
	}
	if s.pool, err = parts.NewPool(parts.Config{Size: c.PartSize, Buffers: c.Buffers}); err != nil {
		return nil, err
	}
	for _, set := range []func(Config) error{s.setBucket, s.setEndpoint, s.setStyle, s.setPublic, s.setEncrypt, s.setSigning} {
		if err := set(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *settings) setBucket(c Config) error {
	s.bucket, s.bucketKey = c.Bucket, "s3_bucket"
	if s.bucket == "" && c.BotoBucket != "" {
		s.bucket, s.bucketKey = c.BotoBucket, "boto_bucket"
	}
	switch {
	case s.bucket == "":
		return errors.New("s3_bucket is empty; it names the bucket of storage: s3")
	case c.Bucket != "" && c.BotoBucket != "" && c.Bucket != c.BotoBucket:
		return fmt.Errorf("s3_bucket is %q and boto_bucket is %q; they are names of one key", c.Bucket, c.BotoBucket)
	case strings.ContainsAny(s.bucket, "/ ?#%"):
		return fmt.Errorf("%s: %q is no name of a bucket; the part after a slash belongs into storage_path", s.bucketKey, s.bucket)
	}
	return nil
}

func (s *settings) setEndpoint(c Config) error {
	s.endpointKey = "s3_endpoint"
	switch {
	case c.Endpoint != "":
		s.endpoint = c.Endpoint
	case c.BotoHost != "":
		s.endpointKey = "boto_host"
		s.endpoint = c.BotoHost
		if c.BotoPort != "" {
			if _, err := strconv.ParseUint(c.BotoPort, 10, 16); err != nil {
				return fmt.Errorf("boto_port: %q is no port", c.BotoPort)
			}
			s.endpoint = net.JoinHostPort(c.BotoHost, c.BotoPort)
		}
	default:
		s.amazon = true
		return nil
	}
	u, err := parseURL(s.endpointKey, s.endpoint, c.Secure)
	if err != nil {
		return err
	}
	s.endpoint = u.String()
	s.secure = u.Scheme == "https"
	s.amazon = strings.HasSuffix(u.Hostname(), ".amazonaws.com") || strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn")
	return nil
}

// parseURL reads the URL of a server, which may lack the scheme.
func parseURL(key, text string, secure bool) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		text = scheme + text
	}
	u, err := url.Parse(strings.TrimRight(text, "/"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %q is no URL", key, text)
	case u.User != nil:
		return nil, fmt.Errorf("%s: the URL holds credentials; those belong into s3_access_key and s3_secret_key", key)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%s: %q is no URL like https://host:port", key, text)
	}
	return u, nil
}

func (s *settings) setStyle(c Config) error {
	s.pathStyle = c.ForcePathStyle || !s.amazon
	switch class := c.BotoCallingFormat; class[strings.LastIndexByte(class, '.')+1:] {
	case "":
	case "OrdinaryCallingFormat":
		s.pathStyle = true
	case "SubdomainCallingFormat":
		if c.ForcePathStyle {
			return fmt.Errorf("boto_calling_format %q and s3_force_path_style say the opposite", class)
		}
		s.pathStyle = false
	default:
		return fmt.Errorf("boto_calling_format: %q is not known; boto.s3.connection.OrdinaryCallingFormat (the bucket in the "+
			"path) and boto.s3.connection.SubdomainCallingFormat (in the host name) are", class)
	}
	return nil
}

func (s *settings) setPublic(c Config) error {
	if c.PublicEndpoint == "" {
		return nil
	}
	u, err := parseURL("s3_public_endpoint", c.PublicEndpoint, c.Secure)
	if err != nil {
		return err
	}
	s.public = u.String()
	return nil
}

func (s *settings) setEncrypt(c Config) (err error) {
	if s.encrypt, err = choice("s3_encrypt", c.Encrypt); err != nil {
		return err
	}
	if c.KMSKey != "" {
		if s.encrypt == choiceFalse {
			return errors.New("s3_kms_key names a key, but s3_encrypt is false")
		}
		s.encrypt = choiceTrue
	}
	return nil
}

func (s *settings) setSigning(c Config) error {
	sign, err := choice("s3_sign_payload", c.SignPayload)
	s.signPayload = sign == choiceTrue || sign == choiceAuto && !s.secure
	return err
}

// choice reads the value of a key that is true, false or auto.
func choice(key, value string) (string, error) {
	switch strings.ToLower(value) {
	case "", choiceAuto:
		return choiceAuto, nil
	case choiceTrue, "yes", "on", "1":
		return choiceTrue, nil
	case choiceFalse, "no", "off", "0":
		return choiceFalse, nil
	}
	return "", fmt.Errorf("%s: %q is none of auto, true, false", key, value)
}

package s3

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// TestConfig checks where a configuration leads, by the URLs that are signed for it.
func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // the URL of key "a/b"
	}{
		{"Amazon", func(*Config) {}, "https://bucket.s3.eu-west-1.amazonaws.com/a/b"},
		{"Amazon without TLS", func(c *Config) { c.Secure = false }, "http://bucket.s3.eu-west-1.amazonaws.com/a/b"},
		{"Amazon in China", func(c *Config) { c.Region = "cn-north-1" }, "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b"},
		{"Amazon with the bucket in the path", func(c *Config) { c.ForcePathStyle = true }, "https://s3.eu-west-1.amazonaws.com/bucket/a/b"},
		{"a bucket with dots", func(c *Config) { c.Bucket = "my.bucket" }, "https://s3.eu-west-1.amazonaws.com/my.bucket/a/b"},
		{"Amazon by name", func(c *Config) { c.BotoHost = "s3.eu-west-1.amazonaws.com" }, "https://bucket.s3.eu-west-1.amazonaws.com/a/b"},
		{"the older name of the bucket", func(c *Config) { c.Bucket, c.BotoBucket = "", "older" }, "https://older.s3.eu-west-1.amazonaws.com/a/b"},
		{"both names", func(c *Config) { c.BotoBucket = "bucket" }, "https://bucket.s3.eu-west-1.amazonaws.com/a/b"},
		{"a prefix", func(c *Config) { c.Path = "/reg/istry/" }, "https://bucket.s3.eu-west-1.amazonaws.com/reg/istry/a/b"},
		{"no prefix", func(c *Config) { c.Path = "/" }, "https://bucket.s3.eu-west-1.amazonaws.com/a/b"},
		{"an endpoint", func(c *Config) { c.Endpoint = "http://minio:9000" }, "http://minio:9000/bucket/a/b"},
		{"an endpoint with a slash", func(c *Config) { c.Endpoint = "http://minio:9000/" }, "http://minio:9000/bucket/a/b"},
		{"an endpoint with a path", func(c *Config) { c.Endpoint = "https://host/s3" }, "https://host/s3/bucket/a/b"},
		{"an endpoint without a scheme", func(c *Config) { c.Endpoint = "minio:9000" }, "https://minio:9000/bucket/a/b"},
		{"an endpoint with a scheme of its own", func(c *Config) { c.Endpoint, c.Secure = "https://minio:9000", false }, "https://minio:9000/bucket/a/b"},
		{"an endpoint with the bucket in the host", func(c *Config) {
			c.Endpoint, c.BotoCallingFormat = "http://minio:9000", "boto.s3.connection.SubdomainCallingFormat"
		}, "http://bucket.minio:9000/a/b"},
		{"Google", func(c *Config) { c.Endpoint = "https://storage.googleapis.com" }, "https://storage.googleapis.com/bucket/a/b"},
		{"older keys", func(c *Config) { c.BotoHost, c.BotoPort = "ceph", "7480" }, "https://ceph:7480/bucket/a/b"},
		{"older keys without TLS", func(c *Config) { c.BotoHost, c.Secure = "ceph", false }, "http://ceph/bucket/a/b"},
		{"older keys and an address of IPv6", func(c *Config) { c.BotoHost, c.BotoPort = "::1", "7480" }, "https://[::1]:7480/bucket/a/b"},
		{"older keys beside an endpoint", func(c *Config) { c.BotoHost, c.Endpoint = "ceph", "http://minio:9000" }, "http://minio:9000/bucket/a/b"},
		{"the path by an older key", func(c *Config) { c.BotoCallingFormat = "boto.s3.connection.OrdinaryCallingFormat" }, "https://s3.eu-west-1.amazonaws.com/bucket/a/b"},
		{"a public endpoint", func(c *Config) {
			c.Endpoint, c.PublicEndpoint = "http://minio:9000", "https://s3.example.com"
		}, "https://s3.example.com/bucket/a/b"},
		{"a public endpoint without a scheme", func(c *Config) {
			c.Endpoint, c.PublicEndpoint, c.Secure = "http://minio:9000", "s3.example.com", false
		}, "http://s3.example.com/bucket/a/b"},
		{"a public endpoint of Amazon without TLS inside", func(c *Config) {
			c.Secure, c.PublicEndpoint = false, "https://cdn.example.com"
		}, "https://bucket.cdn.example.com/a/b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := NewConfig()
			cfg.Bucket, cfg.Region = "bucket", "eu-west-1"
			tt.change(&cfg)
			s, err := cfg.settings()
			if err != nil {
				t.Fatal(err)
			}
			c := newClients()
			defer c.close()
			d := s.driver(credentials.NewStaticCredentialsProvider("key", "secret", ""), c)
			for _, method := range []string{"GET", "HEAD"} {
				signed, err := d.SignURL(t.Context(), method, "a/b", 20*time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				u, err := url.Parse(signed)
				if err != nil {
					t.Fatal(err)
				}
				query := u.Query()
				u.RawQuery = ""
				if got := u.String(); got != tt.want || query.Get("X-Amz-Expires") != "1200" {
					t.Errorf("%s: got %s?%s, want %s for 1200 s", method, got, query.Encode(), tt.want)
				}
			}
			if _, err := d.SignURL(t.Context(), "DELETE", "a/b", time.Minute); err == nil {
				t.Error("a URL to delete with was signed")
			}
		})
	}
}

func TestConfig_Errors(t *testing.T) {
	for _, tt := range []struct {
		change func(*Config)
		want   string // how the error begins
	}{
		{func(c *Config) { c.Bucket = "" }, "s3_bucket is empty"},
		{func(c *Config) { c.BotoBucket = "other" }, `s3_bucket is "bucket" and boto_bucket is "other"`},
		{func(c *Config) { c.Bucket = "bucket/registry" }, `s3_bucket: "bucket/registry" is no name`},
		{func(c *Config) { c.Bucket, c.BotoBucket = "", "s3://bucket" }, `boto_bucket: "s3://bucket" is no name`},
		{func(c *Config) { c.AccessKey = "key" }, "s3_access_key and s3_secret_key: one is set"},
		{func(c *Config) { c.SecretKey = "geheim" }, "s3_access_key and s3_secret_key: one is set"},
		{func(c *Config) { c.Endpoint = "ftp://host" }, `s3_endpoint: "ftp://host" is no URL`},
		{func(c *Config) { c.Endpoint = "http://" }, `s3_endpoint: "http:`},
		{func(c *Config) { c.Endpoint = "http://host:port" }, `s3_endpoint: "http://host:port" is no URL`},
		{func(c *Config) { c.Endpoint = "http://host?x=y" }, `s3_endpoint: "http://host?x=y" is no URL`},
		{func(c *Config) { c.Endpoint = "http://key:geheim@host" }, "s3_endpoint: the URL holds credentials"},
		{func(c *Config) { c.BotoHost, c.BotoPort = "host", "http" }, `boto_port: "http" is no port`},
		{func(c *Config) { c.BotoHost, c.BotoPort = "host", "70000" }, `boto_port: "70000" is no port`},
		{func(c *Config) { c.BotoHost = "ho st" }, `boto_host: "https://ho st" is no URL`},
		{func(c *Config) { c.PublicEndpoint = "ftp://host" }, "s3_public_endpoint: "},
		{func(c *Config) { c.BotoCallingFormat = "boto.s3.connection.VHostCallingFormat" }, `boto_calling_format: "boto.s3.connection.VHostCallingFormat" is not known; boto.s3.connection.OrdinaryCallingFormat`},
		{func(c *Config) { c.BotoCallingFormat, c.ForcePathStyle = "SubdomainCallingFormat", true }, "boto_calling_format "},
		{func(c *Config) { c.Encrypt = "aes" }, `s3_encrypt: "aes" is none of auto, true, false`},
		{func(c *Config) { c.Encrypt, c.KMSKey = "false", "id" }, "s3_kms_key names a key, but s3_encrypt is false"},
		{func(c *Config) { c.SignPayload = "sha256" }, `s3_sign_payload: "sha256" is none of auto, true, false`},
		{func(c *Config) { c.Path = "a b" }, `storage_path "a b"`},
		{func(c *Config) { c.PartSize = 1 << 20 }, "storage_part_size: "},
		{func(c *Config) { c.Buffers = 1 << 20 }, "storage_buffers: "},
	} {
		cfg := NewConfig()
		cfg.Bucket, cfg.Region = "bucket", "eu-west-1"
		tt.change(&cfg)
		_, err := cfg.settings()
		switch {
		case err == nil || !strings.HasPrefix(err.Error(), tt.want):
			t.Errorf("got error %v, want %s…", err, tt.want)
		case strings.Contains(err.Error(), "geheim"):
			t.Errorf("got error %v with a secret in it", err)
		}
	}
}

// TestConfig_SignPayload checks that https takes the place of a check sum, unless the configuration says otherwise.
func TestConfig_SignPayload(t *testing.T) {
	for _, tt := range []struct {
		endpoint, sign string
		want           bool
	}{
		{"", "auto", false},
		{"https://minio:9000", "", false},
		{"https://minio:9000", "true", true},
		{"http://minio:9000", "auto", true},
		{"http://minio:9000", "false", false},
	} {
		cfg := NewConfig()
		cfg.Bucket, cfg.Endpoint, cfg.SignPayload = "bucket", tt.endpoint, tt.sign
		s, err := cfg.settings()
		if err != nil {
			t.Fatal(err)
		}
		if s.signPayload != tt.want {
			t.Errorf("endpoint %q, s3_sign_payload %q: got %t, want %t", tt.endpoint, tt.sign, s.signPayload, tt.want)
		}
	}
}

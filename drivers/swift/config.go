package swift

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/parfait-registry/parfait/drivers"
)

// Config is what a flavor says about this driver. Make one with [NewConfig].
type Config struct {
	// AuthURL is where to log in, such as https://host:5000/v3. No default.
	AuthURL string `yaml:"swift_authurl"`
	// AuthVersion is that of the identity service: 1, 2 or 3, or such as 2.0. Default: what AuthURL says.
	AuthVersion string `yaml:"swift_auth_version"`
	// User and Password are the credentials. No default.
	User     string `yaml:"swift_user"`
	Password string `yaml:"swift_password" flavor:"secret"`
	// TenantName or TenantID is the tenant, also known as project; for versions 2 and 3. Default: the user's own.
	TenantName string `yaml:"swift_tenant_name"`
	TenantID   string `yaml:"swift_tenant_id"`
	// DomainName or DomainID is the user's domain; for version 3. Default: the domain named Default.
	DomainName string `yaml:"swift_domain_name"`
	DomainID   string `yaml:"swift_domain_id"`
	// TenantDomainName or TenantDomainID is the domain of TenantName; for version 3. Default: the user's domain.
	TenantDomainName string `yaml:"swift_tenant_domain_name"`
	TenantDomainID   string `yaml:"swift_tenant_domain_id"`
	// RegionName picks one of several object stores; for versions 2 and 3. Default: the first one.
	RegionName string `yaml:"swift_region_name"`
	// EndpointType is which of the store's URLs to use: public, internal or admin, or publicURL and so on; for versions
	// 2 and 3. Default: public. Signed URLs are public ones in any case.
	EndpointType string `yaml:"swift_endpoint_type"`
	// ObjectStorageURL is the URL of the account, such as https://host/v1/AUTH_1234, for a store whose identity service
	// does not tell it, or not the right one. Signed URLs begin with it as well. Default: what the identity service says.
	ObjectStorageURL string `yaml:"swift_object_storage_url"`
	// CACert is a PEM file with certificates to trust besides those of the system.
	CACert string `yaml:"swift_cacert"`
	// Container is made if it is not there. Default: dev_container.
	Container string `yaml:"swift_container"`
	// TempURLKey signs the URLs of redirects. It has to be one that the container or its account has. Default: the
	// container's own, else the account's; if neither has any, the container gets one with the first redirect.
	TempURLKey string `yaml:"swift_temp_url_key" flavor:"secret"`
	// Path is the prefix of all object names. "/" and "" are none.
	Path string `yaml:"storage_path"`
	// PartSize is the size of the segments of large objects, in bytes. Default: 16MiB.
	PartSize int64 `yaml:"storage_part_size" flavor:"bytes"`
	// Buffers bounds the memory for parts that are on their way, of all uploads together, in bytes. Default: 256MiB.
	Buffers int64 `yaml:"storage_buffers" flavor:"bytes"`
}

// NewConfig returns the defaults.
func NewConfig() Config { return Config{Container: "dev_container"} }

// The limits that Swift sets to names.
const (
	maxContainer = 256 // bytes
	maxPrefix    = 200 // bytes; a name has 1024, of which a folder's mark for the longest key needs 811
)

// check returns the prefix of all names, or what is wrong with the configuration.
func (cfg *Config) check() (prefix string, err error) {
	for _, required := range []struct{ key, value string }{
		{"swift_authurl", cfg.AuthURL}, {"swift_user", cfg.User}, {"swift_password", cfg.Password},
		{"swift_container", cfg.Container},
	} {
		if required.value == "" {
			return "", fmt.Errorf("%s: is not set", required.key)
		}
	}
	for _, u := range []struct{ key, value string }{
		{"swift_authurl", cfg.AuthURL}, {"swift_object_storage_url", cfg.ObjectStorageURL},
	} {
		if err := checkURL(u.value); u.value != "" && err != nil {
			return "", fmt.Errorf("%s: %w", u.key, err)
		}
	}
	if strings.Contains(cfg.Container, "/") || len(cfg.Container) > maxContainer {
		return "", fmt.Errorf("swift_container: %q: a name of up to %d bytes without a slash is needed", cfg.Container, maxContainer)
	}
	if err := cfg.checkVersion(); err != nil {
		return "", err
	}
	prefix, err = drivers.Prefix(cfg.Path)
	if err == nil && len(prefix) > maxPrefix {
		err = fmt.Errorf("storage_path: %d bytes; at most %d are allowed", len(prefix)-1, maxPrefix-1)
	}
	return prefix, err
}

// checkURL says what keeps text from being the URL of a server. It may have a password in it, so it is not told.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("is no http or https URL")
	}
	if u.User != nil || u.RawQuery != "" {
		return errors.New("has more than scheme, host and path")
	}
	return nil
}

// checkVersion says what keeps the other keys from fitting the version of the identity service.
func (cfg *Config) checkVersion() error {
	version := cfg.version()
	switch {
	case version == 0 && cfg.AuthVersion == "":
		return fmt.Errorf("swift_auth_version: swift_authurl %s does not show which of 1, 2 or 3 it is, so it has to be set",
			cfg.AuthURL)
	case version == 0:
		return fmt.Errorf("swift_auth_version: %q is none of 1, 2 and 3", cfg.AuthVersion)
	}
	switch kind := cfg.endpoint(); kind {
	case "public":
	case "internal", "admin":
		if version == 1 {
			return fmt.Errorf("swift_endpoint_type: version 1 of the identity service knows no %q", kind)
		}
	default:
		return fmt.Errorf("swift_endpoint_type: %q is none of public, internal and admin", cfg.EndpointType)
	}
	return nil
}

// endpoint is EndpointType in Swift's own word.
func (cfg *Config) endpoint() string {
	return cmp.Or(strings.ToLower(strings.TrimSuffix(cfg.EndpointType, "URL")), "public")
}

// version is that of the identity service, or 0 if it cannot be told.
func (cfg *Config) version() int {
	if cfg.AuthVersion == "" || cfg.AuthVersion == "0" {
		return versionOf(cfg.AuthURL)
	}
	return versionNamed("v" + strings.TrimPrefix(cfg.AuthVersion, "v"))
}

// versionOf reads the version off the components of a path such as /auth/v1.0, /v2.0 or /identity/v3.
func versionOf(authURL string) int {
	u, err := url.Parse(authURL)
	if err != nil {
		return 0
	}
	for component := range strings.SplitSeq(path.Clean(u.Path), "/") {
		if version := versionNamed(component); version != 0 {
			return version
		}
	}
	return 0
}

// versionNamed is the version that v3 or v2.0 is the name of, or 0.
func versionNamed(name string) int {
	major, _, _ := strings.Cut(name, ".")
	return max(0, slices.Index([]string{"", "v1", "v2", "v3"}, major))
}

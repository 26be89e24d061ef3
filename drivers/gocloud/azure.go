package gocloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// AzureConfig is what a flavor says about a container of Azure Blob Storage.
type AzureConfig struct {
	// Account is the name of the storage account.
	Account string `yaml:"azure_storage_account_name"`
	// Key is one of the account's keys, in base64. Default: the SAS token, or else the credentials that Azure's tools
	// find in the environment or are given by the machine.
	Key string `yaml:"azure_storage_account_key" flavor:"secret"`
	// SAS is a shared access signature that allows to read, write, list and delete, in place of the key.
	SAS string `yaml:"azure_storage_sas_token" flavor:"secret"`
	// Container is the container. It is made, without public access, if it is not there. Default: registry.
	Container string `yaml:"azure_storage_container"`
	// HTTPS says to speak https, for an Endpoint without a scheme. Default: true.
	HTTPS bool `yaml:"azure_use_https"`
	// Endpoint is the domain of another cloud, such as blob.core.chinacloudapi.cn, or the URL of the account's blobs,
	// or the address of an emulator, with a port. Default: blob.core.windows.net.
	Endpoint string `yaml:"azure_endpoint"`
	// Path is a prefix of all names in the container. Default: none.
	Path string `yaml:"storage_path"`

	// PartSize is how many bytes of an object go up in one request. Default: 16MiB.
	PartSize int64 `yaml:"storage_part_size" flavor:"bytes"`
	// Buffers bounds the memory of all uploads together, in bytes. Default: 256MiB.
	Buffers int64 `yaml:"storage_buffers" flavor:"bytes"`
}

// NewAzureConfig returns the defaults.
func NewAzureConfig() AzureConfig { return AzureConfig{Container: "registry", HTTPS: true} }

const makingContainer = "make the container"

const azureDomain = "blob.core.windows.net"

// OpenAzure connects to the container, makes it if it is not there, and checks that it can list, write, read and delete
// there. An error is one line that names the key of the flavor to change. ctx governs OpenAzure alone.
func OpenAzure(ctx context.Context, cfg AzureConfig, log *slog.Logger) (*Driver, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	where, err := cfg.service()
	if err != nil {
		return nil, err
	}
	client, err := cfg.connect(where.JoinPath(cfg.Container))
	if err != nil {
		return nil, err
	}
	pool, err := parts.NewPool(parts.Config{Size: cfg.PartSize, Buffers: cfg.Buffers})
	if err != nil {
		return nil, err
	}
	prefix, err := drivers.Prefix(cfg.Path)
	if err != nil {
		return nil, err
	}
	bucket, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, err
	}
	d := &Driver{name: "azureblob", bucket: bucket, azure: &azure{client}, prefix: prefix, pool: pool, log: log}
	err = d.probe(ctx)
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		if err = d.makeContainer(ctx, cfg.Container); err == nil {
			err = d.probe(ctx)
		}
	}
	if err != nil {
		return nil, cfg.explain(where, err)
	}
	return d, nil
}

func (d *Driver) makeContainer(ctx context.Context, name string) error {
	_, err := d.azure.container.Create(ctx, nil)
	if bloberror.HasCode(err, bloberror.ContainerAlreadyExists) { // another replica was faster
		return nil
	}
	if err == nil {
		d.log.Info("made the container", "container", name)
	}
	return d.failure(ctx, makingContainer, "", err)
}

func (c AzureConfig) validate() error {
	switch {
	case c.Account == "":
		return errors.New("azure_storage_account_name is empty; it names the storage account")
	case strings.ContainsFunc(c.Account, noNameRune):
		return fmt.Errorf("azure_storage_account_name %q: letters and digits are all that a name has", c.Account)
	case len(c.Container) < 3 || len(c.Container) > 63 || strings.ContainsFunc(c.Container, noNameRune):
		return fmt.Errorf("azure_storage_container %q: a name has 3 to 63 lower-case letters, digits and hyphens", c.Container)
	case c.Key != "" && c.SAS != "":
		return errors.New("azure_storage_account_key and azure_storage_sas_token are both set: keep one")
	}
	return nil
}

func noNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// service is the URL of the account's blobs. The account is in the host name, or in the path of an emulator's URL.
func (c AzureConfig) service() (*url.URL, error) {
	endpoint := cmp.Or(c.Endpoint, azureDomain)
	if !strings.Contains(endpoint, "://") {
		scheme := "https"
		if !c.HTTPS {
			scheme = "http"
		}
		endpoint = scheme + "://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("azure_endpoint: it has to be a domain, host:port, or an http or https URL")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	switch host := u.Hostname(); {
	case u.Path != "", strings.HasPrefix(host, c.Account+"."): // it is all there
	case u.Port() != "", net.ParseIP(host) != nil, !strings.Contains(host, "."):
		u.Path = "/" + c.Account
	default:
		u.Host = c.Account + "." + u.Host
	}
	return u, nil
}

// connect returns a client of the container at u. There is no request yet.
func (c AzureConfig) connect(u *url.URL) (*container.Client, error) {
	opts := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: newTransport()},
		Retry:     retries(),
		Telemetry: policy.TelemetryOptions{ApplicationID: "parfait"},
	}}
	switch {
	case c.Key != "":
		key, err := container.NewSharedKeyCredential(c.Account, c.Key)
		if err != nil {
			return nil, errors.New("azure_storage_account_key: it is not in base64")
		}
		return container.NewClientWithSharedKeyCredential(u.String(), key, opts)
	case c.SAS != "":
		query, err := url.ParseQuery(strings.TrimPrefix(c.SAS, "?"))
		if err != nil || !query.Has("sig") {
			return nil, errors.New("azure_storage_sas_token: it is no query with a signature, such as sv=…&sig=…")
		}
		u.RawQuery = query.Encode()
		return container.NewClientWithNoCredential(u.String(), opts)
	case u.Scheme != "https":
		return nil, errors.New("azure_use_https is false: that takes azure_storage_account_key or azure_storage_sas_token")
	}
	found, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("azure_storage_account_key is empty, and there are no other credentials: %w", brief(err))
	}
	return container.NewClient(u.String(), found, opts)
}

// retries is the policy of package retry in the words of Azure's library, whose pauses are 1, 3, 7, … times the first.
func retries() policy.RetryOptions {
	return policy.RetryOptions{
		MaxRetries:    retry.Attempts - 1,
		RetryDelay:    retry.FirstPause / 2,
		MaxRetryDelay: retry.MaxPause,
		ShouldRetry: func(resp *http.Response, err error) bool {
			if err != nil {
				return transient(err)
			}
			return retry.Status(resp.StatusCode)
		},
	}
}

// newTransport returns one that speaks HTTP/1, a connection for each request under way.
func newTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: retry.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout:   retry.ConnectTimeout,
		ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost:   100,
		IdleConnTimeout:       90 * time.Second,
		Protocols:             &protocols,
	}
}

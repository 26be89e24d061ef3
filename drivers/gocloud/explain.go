package gocloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/parfait-registry/parfait/drivers"
)

// explain says in one line which key to change, because of an error of [Driver.probe].
func (c AzureConfig) explain(where *url.URL, err error) error {
	step, err := failedStep(err)
	host, text := where.Host, brief(err)
	switch {
	case c.noCredentials(err):
		return fmt.Errorf("azure_storage_account_key is empty, and so is azure_storage_sas_token, and there are no other credentials: %w", text)
	case is[*net.DNSError](err) && c.Endpoint == "":
		return fmt.Errorf("azure_storage_account_name %q: there is no host %s", c.Account, host)
	case is[*net.DNSError](err):
		return fmt.Errorf("azure_endpoint: there is no host %s", host)
	case otherScheme(where, err):
		return fmt.Errorf("azure_use_https: %s does not speak %s, or azure_endpoint is wrong", host, where.Scheme)
	case forbidden(err) && skew(err) > 5*time.Minute:
		return fmt.Errorf("the clock of this machine is %v off that of %s, which refuses to %s: %w", skew(err), host, step, text)
	case forbidden(err) && step == makingContainer:
		return fmt.Errorf("azure_storage_container: there is no container %s, and %s may not make it: %w", c.Container, c.credential(), text)
	case forbidden(err):
		return fmt.Errorf("%s: %s refuses to %s in container %s: %w", c.credential(), host, step, c.Container, text)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("azure_endpoint: %s has not answered within %v", host, openTimeout)
	case bloberror.HasCode(err, bloberror.ResourceNotFound, bloberror.InvalidResourceName):
		return fmt.Errorf("azure_storage_account_name or azure_storage_container: %s has no account %s with a container %s: %w",
			host, c.Account, c.Container, text)
	case status(err) == 0 || status(err) == http.StatusNotFound && !bucketMissing(err):
		return fmt.Errorf("azure_endpoint: %s: %w", host, text)
	default:
		return fmt.Errorf("azure_storage_container: %s in container %s at %s: %w", step, c.Container, host, text)
	}
}

// explainURL says in one line what is wrong with the bucket at u.
func explainURL(u *url.URL, err error) error {
	step, err := failedStep(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("blob_url %s://%s: no answer within %v", u.Scheme, u.Host, openTimeout)
	}
	return fmt.Errorf("blob_url %s://%s: %s: %w", u.Scheme, u.Host, step, brief(err))
}

// failedStep takes an error of the driver apart: what it was about to do, and why it could not.
func failedStep(err error) (string, error) {
	e, ok := errors.AsType[*drivers.Error](err)
	if !ok {
		return "", err
	}
	switch e.Op {
	case "commit":
		return "write", e.Err
	case "open":
		return "read", e.Err
	}
	return e.Op, e.Err
}

// credential is the key of the flavor that says who we are.
func (c AzureConfig) credential() string {
	switch {
	case c.Key != "":
		return "azure_storage_account_key"
	case c.SAS != "":
		return "azure_storage_sas_token"
	}
	return "azure_storage_account_key (it is empty, and other credentials were found)"
}

// noCredentials reports whether err says that there are none: so says a library that asks nobody again.
func (c AzureConfig) noCredentials(err error) bool {
	return c.Key == "" && c.SAS == "" && is[interface {
		error
		NonRetriable()
	}](err)
}

// otherScheme reports whether err says that the server speaks http, and not https, or the other way round.
func otherScheme(where *url.URL, err error) bool {
	if errors.Is(err, http.ErrSchemeMismatch) || bloberror.HasCode(err, "AccountRequiresHttps") {
		return true
	}
	e, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && where.Scheme == "http" && e.StatusCode == http.StatusBadRequest && e.ErrorCode == ""
}

// skew is how far this machine's clock is from that of who answered with err.
func skew(err error) time.Duration {
	e, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || e.RawResponse == nil {
		return 0
	}
	theirs, err := http.ParseTime(e.RawResponse.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(theirs).Abs().Round(time.Second)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

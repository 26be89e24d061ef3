package s3

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

const (
	// headerTimeout is how long the server may take to answer once it has the whole request.
	headerTimeout = 30 * time.Second
	// copyTimeout is the same for requests that have it move gigabytes first.
	copyTimeout = 10 * time.Minute

	// timeoutAttempts are those of a request that times out, which has taken long enough then.
	timeoutAttempts = 2
	// deniedAttempts are those of a request that is denied: MinIO says so for a moment when a directory that it is to
	// write to is being removed.
	deniedAttempts = 4

	connections = 100 // that are kept for the next request
	ioBuffer    = 64 << 10
)

// clients are ways to the server: one for most requests, and one for those that take it long. They go over connections
// of their own.
type clients struct {
	quick, patient *http.Client
}

func newClients() clients {
	dialer := &net.Dialer{Timeout: retry.ConnectTimeout, KeepAlive: 30 * time.Second}
	quick := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   retry.ConnectTimeout,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: headerTimeout,
		DisableCompression:    true, // what is stored is compressed, and proxies that change Accept-Encoding break signatures
		WriteBufferSize:       ioBuffer,
		ReadBufferSize:        ioBuffer,
	}
	patient := quick.Clone()
	patient.ResponseHeaderTimeout = copyTimeout
	return clients{&http.Client{Transport: quick, CheckRedirect: stay}, &http.Client{Transport: patient, CheckRedirect: stay}}
}

// stay has redirects answered to the driver, since a signature holds for one host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c clients) close() {
	c.quick.CloseIdleConnections()
	c.patient.CloseIdleConnections()
}

// slowly is an option of requests that take the server long.
func (c clients) slowly(o *api.Options) { o.HTTPClient = c.patient }

// once is an option of requests that are not to be repeated by the SDK.
func once(o *api.Options) { o.RetryMaxAttempts = 1 }

// again reports whether a request that has failed with err for the n-th time is to be repeated.
func again(n int, err error) bool {
	switch {
	case timedOut(err):
		return n < timeoutAttempts
	case denied(err):
		return n < deniedAttempts
	}
	return n < retry.Attempts && transient(err)
}

// newRetryer makes the policy of package retry the SDK's, without the SDK's budget for all requests together, which a
// short outage would use up.
func newRetryer() aws.Retryer {
	return awsretry.NewStandard(func(o *awsretry.StandardOptions) {
		o.MaxAttempts = retry.Attempts
		o.RateLimiter = ratelimit.None
		o.Backoff = awsretry.BackoffDelayerFunc(func(n int, err error) (time.Duration, error) {
			if !again(n, err) {
				return 0, err
			}
			return retry.Delay(n), nil
		})
		o.Retryables = []awsretry.IsErrorRetryable{awsretry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(again(1, err))
		})}
	})
}

// repeat is the same for a request that has to know whether it was made before. send makes it [once].
func repeat(ctx context.Context, send func() error) (tries int, err error) {
	err = retry.Do(ctx, func(err error) bool { return again(tries, err) }, func() error {
		tries++
		return send()
	})
	return tries, err
}

// identity returns the credentials, and the region if the configuration or what Amazon's tools look at says one. It
// looks no further than it has to: a broken ~/.aws/config does no harm if nothing of it is wanted.
func identity(ctx context.Context, cfg Config) (aws.CredentialsProvider, string, error) {
	if cfg.AccessKey != "" && cfg.Region != "" {
		return credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, ""), cfg.Region, nil
	}
	found, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, "", err
	}
	region := found.Region
	if cfg.Region != "" {
		region = cfg.Region
	}
	if cfg.AccessKey != "" {
		return credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, ""), region, nil
	}
	return found.Credentials, region, nil
}

// newAPI returns a client of the SDK. Of the environment it takes nothing: what is not in the flavor is decided here.
func (s *settings) newAPI(endpoint, region string, who aws.CredentialsProvider, c clients) *api.Client {
	changes := []func(*middleware.Stack) error{leaveEncoding}
	if !s.signPayload {
		changes = append(changes, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
	return api.New(api.Options{
		AppID:        "parfait",
		Region:       region,
		Credentials:  who,
		HTTPClient:   c.quick,
		Retryer:      newRetryer(),
		BaseEndpoint: optional(endpoint),
		UsePathStyle: s.pathStyle,
		// Amazon wants these check sums no more than others do, and several others refuse them.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		// The default is to ask before each part whether it may come, and to wait for a second where nobody answers that.
		ContinueHeaderThresholdBytes: -1,
		// A clock that is wrong makes URLs that do not work, so it is reported and not made up for.
		DisableClockSkewCorrection: true,
		EndpointOptions:            api.EndpointResolverOptions{DisableHTTPS: endpoint == "" && !s.secure},
		APIOptions:                 changes,
	})
}

// summed is an option of a request that stores p. Its signature holds a sum of the body, unless the flavor wants none.
func (d *Driver) summed(p parts.Part) func(*api.Options) {
	if !d.sums {
		return func(*api.Options) {}
	}
	sum := p.SHA256()
	text := hex.EncodeToString(sum[:])
	return func(o *api.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("Summed", func(ctx context.Context,
				in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, text), in)
			}), middleware.Before)
		})
	}
}

// leaveEncoding takes the header Accept-Encoding out of what is signed, since Google changes it before it looks.
func leaveEncoding(stack *middleware.Stack) error {
	_, _ = stack.Finalize.Remove("DisableAcceptEncodingGzip") // not every operation has it
	return nil
}

// sumMD5 sends Content-MD5 with a request that needs a check sum, in place of the newer ones that few servers know.
func sumMD5(o *api.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		if _, err := stack.Finalize.Remove("AWSChecksum:ComputeInputPayloadChecksum"); err != nil {
			return err
		}
		return smithyhttp.AddContentChecksumMiddleware(stack)
	})
}

// optional is what the SDK wants for text that may be left out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

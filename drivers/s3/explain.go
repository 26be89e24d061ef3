package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/parfait-registry/parfait/drivers/retry"
)

// expecting is how servers name the region in the text of an error.
var expecting = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)

// rightRegion is the region that the server names when it is asked in the wrong one, or "".
func rightRegion(err error) string {
	r := response(err)
	if r == nil || !elsewhere(err) {
		return ""
	}
	if named := expecting.FindStringSubmatch(oneLine(err)); named != nil {
		return named[1]
	}
	return r.Header.Get("X-Amz-Bucket-Region")
}

// elsewhere reports whether the server says that it was asked in the wrong region.
func elsewhere(err error) bool {
	switch code(err) {
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException":
		return true
	}
	return status(err) == http.StatusMovedPermanently || status(err) == http.StatusTemporaryRedirect
}

// cannotEncrypt reports whether an answer to a request to encrypt may mean that the server cannot.
func cannotEncrypt(err error) bool {
	switch status(err) {
	case http.StatusNotImplemented, http.StatusBadRequest:
		return !elsewhere(err) && code(err) != "InvalidStorageClass"
	}
	return false
}

// explain puts an error of Open into one line that begins with the key of the flavor to change. source is where the
// credentials come from.
func (s *settings) explain(ctx context.Context, err error, source string) error {
	if _, asked := errors.AsType[*smithy.OperationError](err); asked && !speaksS3(err) {
		if why := s.explainNetwork(ctx, err); why != "" {
			return errors.New(why)
		}
	}
	return errors.New(s.explainAnswer(err, source))
}

// speaksS3 reports whether err is an answer with a code of S3's, rather than one that the SDK has made of the status.
func speaksS3(err error) bool {
	c := code(err)
	return c != "" && c != strings.ReplaceAll(http.StatusText(status(err)), " ", "")
}

// explainAnswer is for what the server says.
func (s *settings) explainAnswer(err error, source string) string {
	keys := "s3_access_key"
	if source != "StaticCredentials" {
		keys = "s3_access_key is empty, and the credentials from " + source
	}
	doing := ""
	if at, ok := errors.AsType[*step](err); ok {
		doing = at.doing
	}
	if region := rightRegion(err); region != "" {
		return fmt.Sprintf("s3_region: the bucket is in %s, not in %s", region, s.region)
	}
	if elsewhere(err) {
		return fmt.Sprintf("s3_region: the bucket is not in %s, and the server does not say where (%s)", s.region, detail(err))
	}
	switch c := code(err); c {
	case "NoSuchBucket":
		return fmt.Sprintf("%s: there is no bucket %q at %s", s.bucketKey, s.bucket, s.where())
	case "InvalidBucketName":
		return fmt.Sprintf("%s: %q is no name that a bucket may have", s.bucketKey, s.bucket)
	case "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "ExpiredToken":
		return fmt.Sprintf("%s: not known to %s (%s)", keys, s.where(), c)
	case "SignatureDoesNotMatch":
		if source != "StaticCredentials" {
			return fmt.Sprintf("%s: the secret does not fit the key (%s)", keys, c)
		}
		return fmt.Sprintf("s3_secret_key: it does not fit s3_access_key (%s)", c)
	case "RequestTimeTooSkewed":
		return "the clock of this machine is wrong: it is " + skew(err) + " (RequestTimeTooSkewed)"
	case "InvalidStorageClass":
		return fmt.Sprintf("s3_storage_class: there is no class %q at %s", s.storageClass, s.where())
	}
	switch {
	case doing == "encrypt" && s.kmsKey != "":
		return fmt.Sprintf("s3_kms_key: the server does not encrypt with it: %s", detail(err))
	case doing == "encrypt":
		return fmt.Sprintf("s3_encrypt: the server does not encrypt (%s); auto would store without", detail(err))
	case s.kmsKey != "" && strings.HasPrefix(code(err), "KMS."):
		return fmt.Sprintf("s3_kms_key: %s", detail(err))
	case status(err) == http.StatusUnauthorized || status(err) == http.StatusForbidden:
		return fmt.Sprintf("%s: may not %s in bucket %q (%s)", keys, doing, s.bucket, cmp.Or(code(err), detail(err)))
	case code(err) != "" && !speaksS3(err) && status(err) < 500:
		return fmt.Sprintf("%s: what answers at %s does not speak S3 (%s)", s.endpointKey, s.where(), detail(err))
	}
	return fmt.Sprintf("%s: %s cannot %s in bucket %q: %s", s.endpointKey, s.where(), doing, s.bucket, detail(err))
}

// detail is what went wrong, less the step of Open that it went wrong at.
func detail(err error) string {
	if at, ok := errors.AsType[*step](err); ok {
		err = at.err
	}
	return oneLine(err)
}

// skew says how far the clock is from the server's.
func skew(err error) string {
	r := response(err)
	at, parseErr := http.ParseTime(r.Header.Get("Date"))
	if parseErr != nil {
		return "not the server's time"
	}
	d := time.Since(at).Round(time.Second)
	if d < 0 {
		return fmt.Sprintf("%v behind the server's", -d)
	}
	return fmt.Sprintf("%v ahead of the server's", d)
}

// explainNetwork is for what comes of a wrong address, scheme or certificate; "" if it is none of these.
func (s *settings) explainNetwork(ctx context.Context, err error) string {
	where := s.where()
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("%s: the certificate of %s is not trusted: %s; the environment variable SSL_CERT_FILE names others to trust",
			s.endpointKey, where, oneLine(untrusted.Err))
	}
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case noTLS || errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s: %s does not speak https; %s", s.schemeKey(), where, s.schemeHint("http"))
	case !s.secure && speaksTLS(ctx, where):
		return fmt.Sprintf("%s: %s speaks https; %s", s.schemeKey(), where, s.schemeHint("https"))
	case status(err) != 0:
		return ""
	case errors.Is(err, context.DeadlineExceeded) || timedOut(err):
		return fmt.Sprintf("%s: %s does not answer within %v", s.endpointKey, where, openTimeout)
	}
	if noName, ok := errors.AsType[*net.DNSError](err); ok {
		key := s.endpointKey
		if s.endpoint == "" {
			key = "s3_region"
		}
		return fmt.Sprintf("%s: there is no host %s (%s)", key, noName.Name, noName.Err)
	}
	return fmt.Sprintf("%s: %s cannot be reached: %s", s.endpointKey, where, detail(err))
}

// schemeKey is the key that decides between http and https.
func (s *settings) schemeKey() string {
	if s.endpointKey == "s3_endpoint" && s.endpoint != "" {
		return "s3_endpoint"
	}
	return "s3_secure"
}

func (s *settings) schemeHint(scheme string) string {
	if s.schemeKey() == "s3_endpoint" {
		return "let the URL begin with " + scheme + "://"
	}
	return fmt.Sprintf("set it to %t", scheme == "https")
}

// where is the server, as one may name it to people.
func (s *settings) where() string {
	if s.endpoint == "" {
		return "Amazon S3"
	}
	return s.endpoint
}

// speaksTLS reports whether the server at a URL that begins with http:// would rather be asked with https://.
func speaksTLS(ctx context.Context, where string) bool {
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, retry.FirstPause*10)
	defer cancel()
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- nothing is sent
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

package harness_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A store is a storage server as its own clients see it: flat keys in a bucket, which some call a container.
type store interface {
	bucket(t *testing.T) string
	put(t *testing.T, bucket, key, value string)
	get(t *testing.T, bucket, key string) string
	list(t *testing.T, bucket string) []string // in order
}

// A restarter is a server, or several, that can be stopped and started again.
type restarter interface {
	Start()
	Stop() int
	Kill()
}

func TestMinIO(t *testing.T) {
	t.Parallel()
	s := harness.MinIO(t)
	testStore(t, s, s3{s})
}

func TestVersityGW(t *testing.T) {
	t.Parallel()
	s := harness.VersityGW(t)
	testStore(t, s, s3{s})
}

func TestFakeGCS(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	testStore(t, s, gcs{s})
}

func TestAzurite(t *testing.T) {
	t.Parallel()
	s := harness.Azurite(t)
	testStore(t, s, azure{s})
}

func TestOpenStackSwift(t *testing.T) {
	t.Parallel()
	s := swift{harness.OpenStackSwift(t)}
	testStore(t, s, s)
}

// TestStore keeps objects in two buckets of a server, while it is stopped and killed.
func testStore(t *testing.T, server restarter, s store) {
	a, b := s.bucket(t), s.bucket(t)
	if a == b {
		t.Fatalf("got bucket %s twice", a)
	}
	s.put(t, a, "x/1", "one")
	s.put(t, a, "x/2", "two")
	s.put(t, a, "x/2", "two again")
	s.put(t, b, "x/2", "two of b")
	check := func(when string) {
		t.Helper()
		if got, want := s.list(t, a), []string{"x/1", "x/2"}; !slices.Equal(got, want) {
			t.Errorf("%s: got keys %q, want %q", when, got, want)
		}
		if got, want := s.get(t, a, "x/2"), "two again"; got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
		if got, want := s.get(t, b, "x/2"), "two of b"; got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	check("at first")
	server.Stop()
	server.Start()
	check("after a stop")
	server.Kill()
	server.Start()
	check("after a kill")
	s.put(t, s.bucket(t), "x", "the server still takes objects")
}

type s3 struct{ *harness.S3 }

func (s s3) bucket(t *testing.T) string { return s.NewBucket(t) }

func (s s3) put(t *testing.T, bucket, key, value string) {
	t.Helper()
	_, err := s.Eye(t).PutObject(t.Context(), bucket, key, strings.NewReader(value), int64(len(value)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (s s3) get(t *testing.T, bucket, key string) string {
	t.Helper()
	object, err := s.Eye(t).GetObject(t.Context(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	value, err := io.ReadAll(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func (s s3) list(t *testing.T, bucket string) (keys []string) {
	t.Helper()
	for object := range s.Eye(t).ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}

// A client without a signature, or with a wrong one, gets nothing.
func TestS3Signature(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *harness.S3{"minio": harness.MinIO, "versitygw": harness.VersityGW} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			bucket := s.NewBucket(t)
			wrong := *s
			wrong.SecretKey = "another"
			_, err := wrong.Eye(t).ListBuckets(t.Context())
			if got, want := minio.ToErrorResponse(err).Code, "SignatureDoesNotMatch"; got != want {
				t.Errorf("got %q, %v, want %s", got, err, want)
			}
			if status, _ := send(t, http.MethodGet, s.URL+"/"+bucket, nil, ""); status != http.StatusForbidden {
				t.Errorf("got status %d without a signature, want 403", status)
			}
		})
	}
}

type gcs struct{ *harness.GCS }

func (s gcs) bucket(t *testing.T) string { return s.NewBucket(t) }

func (s gcs) put(t *testing.T, bucket, key, value string) {
	t.Helper()
	want(t, 200, http.MethodPost, s.URL+"/upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+url.QueryEscape(key), nil, value)
}

func (s gcs) get(t *testing.T, bucket, key string) string {
	t.Helper()
	return want(t, 200, http.MethodGet, s.URL+"/storage/v1/b/"+bucket+"/o/"+url.PathEscape(key)+"?alt=media", nil, "")
}

func (s gcs) list(t *testing.T, bucket string) (keys []string) {
	t.Helper()
	var page struct{ Items []struct{ Name string } }
	body := want(t, 200, http.MethodGet, s.URL+"/storage/v1/b/"+bucket+"/o", nil, "")
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	for _, item := range page.Items {
		keys = append(keys, item.Name)
	}
	return keys
}

type azure struct{ *harness.Azure }

func (s azure) bucket(t *testing.T) string { return s.NewContainer(t) }

func (s azure) put(t *testing.T, bucket, key, value string) {
	t.Helper()
	want(t, 201, http.MethodPut, s.SignedURL(bucket+"/"+key), http.Header{"X-Ms-Blob-Type": {"BlockBlob"}}, value)
}

func (s azure) get(t *testing.T, bucket, key string) string {
	t.Helper()
	return want(t, 200, http.MethodGet, s.SignedURL(bucket+"/"+key), nil, "")
}

func (s azure) list(t *testing.T, bucket string) (keys []string) {
	t.Helper()
	var page struct {
		Names []string `xml:"Blobs>Blob>Name"`
	}
	body := want(t, 200, http.MethodGet, s.SignedURL(bucket)+"&restype=container&comp=list", nil, "")
	if err := xml.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	return page.Names
}

type swift struct{ *harness.Swift }

func (s swift) Stop() int {
	s.Swift.Stop()
	return 0
}

func (s swift) bucket(t *testing.T) string { return s.NewContainer(t) }

func (s swift) put(t *testing.T, bucket, key, value string) {
	t.Helper()
	url, header := s.Login(t)
	want(t, 201, http.MethodPut, url+"/"+bucket+"/"+key, header, value)
}

func (s swift) get(t *testing.T, bucket, key string) string {
	t.Helper()
	url, header := s.Login(t)
	return want(t, 200, http.MethodGet, url+"/"+bucket+"/"+key, header, "")
}

func (s swift) list(t *testing.T, bucket string) []string {
	t.Helper()
	url, header := s.Login(t)
	return strings.Fields(want(t, 200, http.MethodGet, url+"/"+bucket, header, ""))
}

// Want sends a request, whose answer has to have that status, and returns the body of the answer.
func want(t *testing.T, status int, method, url string, header http.Header, body string) string {
	t.Helper()
	got, answer := send(t, method, url, header, body)
	if got != status {
		t.Fatalf("%s %s: got %d, want %d\n%s", method, url, got, status, answer)
	}
	return answer
}

func send(t *testing.T, method, url string, header http.Header, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

package harness

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// An S3 is a server that speaks S3. It takes buckets in the path alone, not in the host name.
type S3 struct {
	*Server
	AccessKey, SecretKey, Region string
}

// MinIO starts MinIO, which follows S3 the closest. It is up within a second.
func MinIO(t testing.TB) *S3 {
	t.Helper()
	program := Tool(t, "minio")
	s := &S3{AccessKey: "parfait", SecretKey: "parfait-secret", Region: "us-east-1"}
	storage := t.TempDir()
	s.Server = start(t, command{
		name: "minio",
		args: func(addr string) []string { return []string{program, "server", "--address", addr, storage} },
		env: func(string) []string {
			return []string{
				"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey, "MINIO_REGION=" + s.Region,
				"MINIO_BROWSER=off", "MINIO_UPDATE=off",
			}
		},
		ready: answers("/minio/health/ready"),
	}, "")
	s.Storage = storage
	return s
}

// VersityGW starts versitygw, which keeps an object as a file and starts at once. Its buckets have no versions.
func VersityGW(t testing.TB) *S3 {
	t.Helper()
	program := Tool(t, "versitygw")
	s := &S3{AccessKey: "parfait", SecretKey: "parfait-secret", Region: "us-east-1"}
	storage := t.TempDir()
	s.Server = start(t, command{
		name: "versitygw",
		args: func(addr string) []string {
			return []string{program, "--port", addr, "--region", s.Region, "--health", "/health", "--quiet", "posix", storage}
		},
		env: func(string) []string {
			return []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
		},
		ready: answers("/health"),
	}, "")
	s.Storage = storage
	return s
}

// NewBucket makes a bucket that no other test has, and returns its name.
func (s *S3) NewBucket(t testing.TB) string {
	t.Helper()
	name := fresh()
	if err := s.Eye(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{Region: s.Region}); err != nil {
		t.Fatalf("make bucket %s: %v", name, err)
	}
	return name
}

// Eye is a client that has nothing of Parfait's own in it, for a look from aside.
func (s *S3) Eye(t testing.TB) *minio.Client {
	t.Helper()
	client, err := minio.New(s.Addr, &minio.Options{
		Creds:        credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Region:       s.Region,
		BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Fresh is a name that was never used: letters and digits, the first one a letter.
func fresh() string { return "t" + strings.ToLower(rand.Text()) }

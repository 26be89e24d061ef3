package integration

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestVerify damages a store behind the back of its registry. The command names what is wrong, mends it, and after the
// next push of the image all is well.
func TestVerify(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		store := t.TempDir()
		testVerify(t, harness.Options{Storage: store}, func(t *testing.T, key string, content []byte) {
			if err := os.WriteFile(filepath.Join(store, key), content, 0o666); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("S3", func(t *testing.T) {
		s3 := harness.MinIO(t)
		bucket := s3.NewBucket(t)
		var o harness.Options
		elsewhere(t, &o, "s3", "AWS_BUCKET="+bucket, "AWS_ENDPOINT_URL="+s3.URL, "AWS_REGION="+s3.Region,
			"AWS_KEY="+s3.AccessKey, "AWS_SECRET="+s3.SecretKey)
		testVerify(t, o, func(t *testing.T, key string, content []byte) {
			_, err := s3.Eye(t).PutObject(t.Context(), bucket, "registry/"+key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

func testVerify(t *testing.T, o harness.Options, replace func(t *testing.T, key string, content []byte)) {
	o.Env = append(o.Env, "LOGLEVEL=error")
	r := rand.New(rand.NewPCG(5, 5))
	m := newRawImage(r, newRawBlob(r, 100_000), newRawBlob(r, 1000))
	push := func() {
		t.Helper()
		s := harness.StartParfait(t, o)
		defer stopWell(t, s)
		c := newRawClient(s.URL)
		defer c.close()
		if err := c.pushImage(t.Context(), "app", "v1", postPut, m); err != nil {
			t.Error(err)
		}
	}
	verify := func(status int, want string, args ...string) string {
		t.Helper()
		out, got := harness.RunParfait(t, o, append([]string{"verify"}, args...)...)
		if got != status || !strings.Contains(out, want) {
			t.Errorf("verify %s: got status %d, want %d, and %q in\n%s", args, got, status, want, out)
		}
		return out
	}
	push()
	verify(0, "4 blobs", "--rate", "0")

	bad := bytes.Clone(m.blobs[0])
	bad[50_000] ^= 0x40
	d := digest.FromBytes(m.blobs[0])
	key := "docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
	replace(t, key, bad)
	tag := "docker/registry/v2/repositories/app/_manifests/tags/v1/current/link"
	replace(t, tag, []byte(d))
	verify(1, "corrupt blob: "+key)
	verify(1, "wrong link: "+tag)
	line, _, _ := strings.Cut(verify(1, `"defect":"corrupt blob"`, "--json"), "\n")
	var finding struct{ Defect, Key string }
	if err := json.Unmarshal([]byte(line), &finding); err != nil || finding.Key != key {
		t.Errorf("got %q, %v", line, err)
	}
	verify(1, "2 of them mended", "--repair")
	verify(0, "0 findings")

	s := harness.StartParfait(t, o)
	c := newRawClient(s.URL)
	defer c.close()
	verify(2, "in use")
	for path, status := range map[string]int{"blobs/" + d.String(): http.StatusNotFound, "manifests/v1": http.StatusOK} {
		if _, err := c.want(t.Context(), status, "HEAD", "/v2/app/"+path, nil); err != nil {
			t.Error(err)
		}
	}
	stopWell(t, s)
	push()
	verify(0, "0 findings", "--restart")
	s = harness.StartParfait(t, o)
	defer stopWell(t, s)
	c = newRawClient(s.URL)
	defer c.close()
	a, err := c.want(t.Context(), http.StatusOK, "GET", "/v2/app/blobs/"+d.String(), nil)
	if err != nil || !bytes.Equal(a.body, m.blobs[0]) {
		t.Errorf("after another push: got %d bytes, %v", len(a.body), err)
	}
	verify(2, "--rate", "--rate", "fast")
}

package integration

import (
	"crypto/rand"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// api is what clients do with a registry, whatever it stores in.
var api = []struct {
	name string
	test func(t *testing.T, on store)
}{
	{"containerd", testContainerd},
	{"go-containerregistry", testGoContainerRegistry},
	{"oras-go", testORAS},
	{"regclient", testRegclient},
	{"upload patterns", testUploadPatterns},
	{"relative locations", testRelativeLocations},
	{"copy within registry", testCopyWithinRegistry},
	{"crane", testCrane},
	{"oras", testOrasProgram},
	{"regctl", testRegctl},
	{"regsync and regbot", testRegsyncAndRegbot},
	{"skopeo", testSkopeo},
	{"skopeo with an index", testSkopeoIndex},
	{"podman", testPodman},
	{"podman search in a catalog", testPodmanSearchCatalog},
	{"buildah", testBuildah},
	{"replayed uploads", testReplayedUploads},
	{"replayed mounts", testReplayedMounts},
	{"chunk out of order", testChunkOutOfOrder},
	{"content digest", testContentDigest},
	{"referrers of unknown", testReferrersOfUnknown},
	{"schemas", testSchemas},
	{"BuildKit cache", testBuildKitCache},
	{"blob of each repository", testBlobOfEachRepository},
	{"delete tag", testDeleteTag},
	{"ranges", testRanges},
	{"cancelled upload", testCancelledUpload},
	{"large manifest", testLargeManifest},
	{"manifest digests", testManifestDigests},
	{"pages", testPages},
	{"image between programs", testImageBetweenPrograms},
	{"tutorial docker", testTutorialDocker},
	{"docker search", testDockerSearch},
	{"push many at once", testPushManyAtOnce},
	{"pull by many at once", testPullByManyAtOnce},
	{"mirror requests", testMirrorRequests},
}

// A store is what servers keep their data in. Start has a test meet one of them.
type store interface {
	start(t *testing.T, o harness.Options) *harness.Server
}

// A place is a store in which each server that a test starts has an empty place.
type place func(t *testing.T, o *harness.Options)

func (in place) start(t *testing.T, o harness.Options) *harness.Server {
	t.Helper()
	in(t, &o)
	return harness.StartParfait(t, o)
}

// stores are the back ends, each with a function that starts the server of that kind.
var stores = []struct {
	name string
	open func(t *testing.T) store
}{
	{"local", func(*testing.T) store { return place(func(*testing.T, *harness.Options) {}) }},
	{"mem", func(*testing.T) store { return place(inMemory) }},
	{"local and PostgreSQL", func(t *testing.T) store { return onPostgreSQL(harness.PostgreSQL(t)) }},
	{"minio", func(t *testing.T) store { s := harness.MinIO(t); return s3Store(s, s.URL) }},
	{"versitygw", func(t *testing.T) store { s := harness.VersityGW(t); return s3Store(s, s.URL) }},
	{"fake-gcs-server", func(t *testing.T) store { return gcsStore(harness.FakeGCS(t)) }},
	{"swift", func(t *testing.T) store { return swiftStore(harness.OpenStackSwift(t)) }},
	{"azurite", func(t *testing.T) store { return azureStore(harness.Azurite(t)) }},
	{"blob", func(t *testing.T) store { return urlStore(harness.VersityGW(t)) }},
	{"replicas", func(t *testing.T) store { return replicated(s3AndPostgreSQL(t)) }},
}

// TestAPI lets all clients do all that they can, on every back end.
func TestAPI(t *testing.T) {
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // each waits for its own back end most of the time
			on := s.open(t)
			for _, tt := range api {
				t.Run(tt.name, func(t *testing.T) { tt.test(t, on) })
			}
		})
	}
}

func inMemory(_ *testing.T, o *harness.Options) { o.Flavor = "registry-inmemory" }

// onPostgreSQL is a folder with its index in PostgreSQL.
func onPostgreSQL(p *harness.Postgres) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		o.Env = append([]string{"INDEX_DATABASE=" + p.NewDatabase(t)}, o.Env...)
	}
}

// s3Store gives each server a bucket, which it reaches at endpoint.
func s3Store(s *harness.S3, endpoint string) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		elsewhere(t, o, "s3",
			"AWS_BUCKET="+s.NewBucket(t), "AWS_ENDPOINT_URL="+endpoint, "AWS_REGION="+s.Region,
			"AWS_KEY="+s.AccessKey, "AWS_SECRET="+s.SecretKey)
	}
}

func gcsStore(s *harness.GCS) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		elsewhere(t, o, "gcs", "GCS_BUCKET="+s.NewBucket(t), "STORAGE_EMULATOR_HOST="+s.URL)
	}
}

// swiftStore gives each server a container, which the server makes.
func swiftStore(s *harness.Swift) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		elsewhere(t, o, "swift", "OS_AUTH_URL="+s.AuthURL, "OS_USERNAME="+s.User, "OS_PASSWORD="+s.Password,
			"OS_CONTAINER=api-"+strings.ToLower(rand.Text()))
	}
}

func azureStore(s *harness.Azure) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		elsewhere(t, o, "azureblob", "AZURE_STORAGE_ACCOUNT_NAME="+s.Account, "AZURE_STORAGE_ACCOUNT_KEY="+s.Key,
			"AZURE_STORAGE_CONTAINER="+s.NewContainer(t), "AZURE_ENDPOINT="+s.URL)
	}
}

// urlStore is a bucket as gocloud names it.
func urlStore(s *harness.S3) place {
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		elsewhere(t, o, "blob", "AWS_ACCESS_KEY_ID="+s.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.SecretKey,
			"BLOB_URL=s3://"+s.NewBucket(t)+"?use_path_style=true&region="+s.Region+"&endpoint="+url.QueryEscape(s.URL))
	}
}

// elsewhere is a place of an object store, with an index of its own.
func elsewhere(t *testing.T, o *harness.Options, flavor string, env ...string) {
	t.Helper()
	o.Flavor, o.Storage = flavor, "/registry"
	env = append(env, "INDEX_DATABASE="+filepath.Join(t.TempDir(), "index.db"))
	o.Env = append(env, o.Env...)
}

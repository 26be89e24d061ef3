package flavors_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/flavors"
)

// shownSample returns what a flavor of the built-in file comes down to, as "key: value" lines without origins.
func shownSample(t *testing.T, name string, env map[string]string) []string {
	t.Helper()
	flavor, err := sample(t, env).Flavor(name)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := flavor.Show(&out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(withoutOrigins(out.String()), "\n")
}

func sample(t *testing.T, env map[string]string) *flavors.File {
	t.Helper()
	data, err := os.ReadFile("../config_sample.yml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := flavors.Parse("config_sample.yml", data, lookup(env))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSampleFlavors(t *testing.T) {
	want := strings.Fields(`common local s3 cloudfronts3 azureblob ceph-s3 gcs swift glance openstack glance-swift
		openstack-swift elliptics oss dev test prod
		blob registry-filesystem registry-inmemory registry-s3 registry-gcs registry-azure registry-swift`)
	if got := sample(t, nil).Flavors(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each flavor inherits as in the original, and reads the variables of both generations.
func TestSample(t *testing.T) {
	for _, tt := range []struct {
		flavor string
		env    string
		want   []string
	}{
		{"common", "", []string{`issue: "\"docker-registry server\""`, "loglevel: info", "debug: false",
			"http_addr: 0.0.0.0:5000", "sqlalchemy_index_database: sqlite:////tmp/docker-registry.db",
			"index_endpoint: https://index.docker.io", "storage_redirect: null", "  tags_cache_ttl: 172800",
			"  headers: [Content-Type]", "  smtp_port: 25"}},
		{"common", "LISTEN=:80", []string{`http_addr: ":80"`}},
		{"common", "LISTEN=:80 REGISTRY_HTTP_ADDR=0.0.0.0:5001", []string{"http_addr: 0.0.0.0:5001"}},
		{"local", "", []string{"storage: local", "storage_path: /tmp/registry", "loglevel: info"}},
		{"local", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/data", []string{"storage_path: /data"}},
		{"local", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/data STORAGE_PATH=/opt", []string{"storage_path: /opt"}},
		{"s3", "", []string{"storage: s3", "s3_bucket: null", "s3_encrypt: auto", "s3_secure: true", "storage_path: /registry"}},
		{"s3", "AWS_BUCKET=acme STORAGE_PATH=/x AWS_SECURE=", []string{"s3_bucket: acme", "boto_bucket: acme",
			"storage_path: /x", "s3_secure: null"}},
		{"s3", "REGISTRY_STORAGE_S3_BUCKET=acme REGISTRY_STORAGE_S3_REGIONENDPOINT=http://minio:9000", []string{
			"s3_bucket: acme", "boto_bucket: acme", "s3_endpoint: http://minio:9000"}},
		{"cloudfronts3", "CF_KEYID=k", []string{"storage: s3", `  keyid: "***"`}},
		{"azureblob", "REGISTRY_STORAGE_AZURE_ACCOUNTNAME=me", []string{"storage: azureblob",
			"azure_storage_account_name: me", "azure_storage_container: registry"}},
		{"ceph-s3", "AWS_REGION=eu", []string{"storage: s3", "s3_region: null", "s3_secure: false", "s3_encrypt: false"}},
		{"gcs", "REGISTRY_STORAGE_GCS_BUCKET=acme", []string{"storage: gcs", "boto_bucket: acme"}},
		{"swift", "OS_CONTAINER=c REGISTRY_STORAGE_SWIFT_USERNAME=me", []string{"storage: swift", "swift_container: c", "swift_user: me"}},
		{"glance", "", []string{"storage: glance", "storage_alternate: file", "storage_path: /tmp/registry"}},
		{"openstack", "", []string{"storage: glance", "storage_alternate: file"}},
		{"glance-swift", "", []string{"storage: glance", "storage_alternate: swift", "storage_path: /registry"}},
		{"openstack-swift", "", []string{"storage: glance", "storage_alternate: swift", "swift_container: null"}},
		{"elliptics", "", []string{"storage: elliptics", "elliptics_wait_timeout: 60"}},
		{"oss", "", []string{"storage: oss", "storage_path: /registry/"}},
		{"dev", "", []string{"storage: local", "storage_path: /tmp/registry", "loglevel: debug", "debug: true", "search_backend: sqlalchemy"}},
		{"test", "", []string{"storage: local", "storage_path: ./tmp/test", "loglevel: debug", "standalone: true",
			"index_endpoint: https://registry-stage.hub.docker.com"}},
		{"prod", "", []string{"storage: s3", "storage_path: /prod", "loglevel: info", "s3_secure: true"}},
	} {
		t.Run(tt.flavor+" "+tt.env, func(t *testing.T) {
			env := map[string]string{}
			for set := range strings.FieldsSeq(tt.env) {
				name, value, _ := strings.Cut(set, "=")
				env[name] = value
			}
			got := shownSample(t, tt.flavor, env)
			for _, line := range tt.want {
				if !slices.Contains(got, line) {
					t.Errorf("no line %q in\n%s", line, strings.Join(got, "\n"))
				}
			}
		})
	}
}

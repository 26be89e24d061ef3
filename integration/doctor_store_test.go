package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDoctorS3 has it look at a bucket: well, missing, forbidden, with a part of the rights, and with another clock.
func TestDoctorS3(t *testing.T) {
	s3 := harness.MinIO(t)
	on := func(t *testing.T, env ...string) harness.Options {
		t.Helper()
		o := at(t, harness.Options{})
		s3Store(s3, s3.URL)(t, &o)
		o.Env = append(append(o.Env, env...), "XDG_DATA_HOME="+t.TempDir())
		return o
	}
	o := on(t)
	all := doctor(t, o)
	well(t, all)
	found(t, all, "store sign", "ok", s3.Addr)
	found(t, all, "store clock", "ok", "agrees")
	found(t, all, "store lease", "ok", "no server has the store")
	for object := range s3.Eye(t).ListObjects(t.Context(), bucketOf(o), minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("the doctor has left %s (%v)", object.Key, object.Err)
	}
	server := harness.StartParfait(t, anywhere(o))
	o.Env = append(o.Env, "REGISTRY_HTTP_ADDR="+server.Addr)
	all = doctor(t, o)
	well(t, all)
	found(t, all, "store lease", "ok", "the store is that of process")
	ggcrPush(t, reference(t, server.Addr+"/team/app:v1"), randomImage(t, 1000, 1, "application/vnd.oci.image.manifest.v1+json"))

	found(t, doctor(t, on(t, "AWS_BUCKET=no-such-bucket")), "store", "fail", "no-such-bucket")
	all = doctor(t, on(t, "AWS_SECRET=hush-hush-hush"))
	found(t, all, "store", "fail", "s3_secret_key")
	for _, f := range all {
		if strings.Contains(f.Text+f.Fix, "hush") || strings.Contains(f.Text+f.Fix, "X-Amz-Signature") {
			t.Errorf("a secret is told: %v", f)
		}
	}
	t.Run("no right to read", func(t *testing.T) {
		o := on(t)
		who := limited(t, s3, bucketOf(o), "s3:PutObject", "s3:ListBucket", "s3:DeleteObject")
		o.Env = append(o.Env, "AWS_KEY=", "AWS_SECRET=", "AWS_ACCESS_KEY_ID="+who.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+who.SecretAccessKey, "AWS_SESSION_TOKEN="+who.SessionToken)
		found(t, doctor(t, o), "store", "fail", "may not read")
	})
	t.Run("clock", func(t *testing.T) {
		late := slowClock(t, s3.URL, 10*time.Minute)
		found(t, doctor(t, on(t, "AWS_ENDPOINT_URL="+late)), "store clock", "fail", "behind this machine")
		late = slowClock(t, s3.URL, 20*time.Second)
		found(t, doctor(t, on(t, "AWS_ENDPOINT_URL="+late)), "store clock", "warn", "behind")
	})
	t.Run("public endpoint", func(t *testing.T) {
		o := on(t, "S3_PUBLIC_ENDPOINT=http://127.0.0.1:1", "STORAGE_REDIRECT=true")
		found(t, doctor(t, o), "store sign", "fail", "127.0.0.1:1")
	})
}

// bucketOf is the bucket that options name.
func bucketOf(o harness.Options) (bucket string) {
	for _, pair := range o.Env {
		if name, ok := strings.CutPrefix(pair, "AWS_BUCKET="); ok {
			bucket = name
		}
	}
	return bucket
}

// limited returns credentials for a few actions.
func limited(t *testing.T, s3 *harness.S3, bucket string, actions ...string) credentials.Value {
	t.Helper()
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Action": actions, "Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"}}}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := credentials.NewSTSAssumeRole(s3.URL, credentials.STSAssumeRoleOptions{Location: s3.Region, AccessKey: s3.AccessKey, SecretKey: s3.SecretKey, Policy: string(policy)})
	if err != nil {
		t.Fatal(err)
	}
	value, err := who.GetWithContext(nil)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// slowClock stands before an object store, whose clock is late then.
func slowClock(t *testing.T, target string, late time.Duration) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"Date", "Last-Modified"} {
				if at, err := http.ParseTime(r.Header.Get(name)); err == nil {
					r.Header.Set(name, at.Add(-late).Format(http.TimeFormat))
				}
			}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// TestDoctorPostgreSQL has it look at a database: empty, served, without the right to write, and away.
func TestDoctorPostgreSQL(t *testing.T) {
	p := harness.PostgreSQL(t, "fsync=off", "max_connections=24")
	database := p.NewDatabase(t)
	o := at(t, harness.Options{Env: []string{"INDEX_DATABASE=" + database, "LOGLEVEL=warn"}})
	all := doctor(t, o)
	well(t, all)
	found(t, all, "index", "ok", "serve makes it")
	found(t, all, "index clock", "ok", "agrees")
	if tables := p.Query(t, database, "select count(*) from pg_tables where schemaname = 'public'"); tables != "0" {
		t.Errorf("the doctor has made %s tables", tables)
	}
	harness.StartParfait(t, anywhere(o))
	all = doctor(t, o)
	well(t, all)
	found(t, all, "index", "ok", "up to date")
	found(t, doctor(t, harness.Options{Env: append(o.Env, "INDEX_POOL_SIZE=30")}), "index pool", "warn", "max_connections")
	if n := p.Query(t, database, "select count(*) from migrations where name = 'doctor'"); n != "0" {
		t.Error("the doctor has left a row")
	}
	p.Query(t, database, "create role reader login password 'hush'; grant select on all tables in schema public to reader")
	reader := strings.Replace(database, "postgres@", "reader:hush@", 1)
	all = doctor(t, harness.Options{Env: append(o.Env, "INDEX_DATABASE="+reader)})
	found(t, all, "index", "fail", "may not write")
	for _, f := range all {
		if strings.Contains(f.Text+f.Fix, "hush") {
			t.Errorf("a secret is told: %v", f)
		}
	}
	p.Query(t, database, "insert into migrations (name) values ('migrations/9999_later.sql')")
	found(t, doctor(t, o), "index", "fail", "use a newer parfait")
	p.Stop()
	found(t, doctor(t, o), "index", "fail", "refused")
}

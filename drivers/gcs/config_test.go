package gcs_test

import (
	"testing"

	"github.com/parfait-registry/parfait/drivers/gcs"
)

func TestConfig_Interoperable(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  gcs.Config
		want bool
	}{
		{"no keys", gcs.Config{}, false},
		{"keys", gcs.Config{AccessKey: "a", SecretKey: "s"}, true},
		{"half of them", gcs.Config{AccessKey: "a"}, true},
		{"oauth2", gcs.Config{AccessKey: "a", SecretKey: "s", OAuth2: true}, false},
		{"a key file", gcs.Config{AccessKey: "a", SecretKey: "s", Keyfile: "key.json"}, false},
	} {
		if got := tt.cfg.Interoperable(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestConfig_Interop(t *testing.T) {
	keys := gcs.Config{
		BotoBucket: "b", Path: "/registry", Secure: true, AccessKey: "a", SecretKey: "s", PartSize: 1, Buffers: 2,
	}
	want := gcs.Interop{
		Endpoint: "https://storage.googleapis.com", Region: "auto", Secure: true,
		Bucket: "b", Path: "/registry", AccessKey: "a", SecretKey: "s", PartSize: 1, Buffers: 2,
	}
	if got, err := keys.Interop(); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	insecure := keys
	insecure.Secure = false
	want.Endpoint, want.Secure = "http://storage.googleapis.com", false
	if got, err := insecure.Interop(); got != want || err != nil {
		t.Errorf("gs_secure false: got %+v, %v, want %+v", got, err, want)
	}
	own := keys
	own.Endpoint = "http://localhost:9000/"
	want.Endpoint = "http://localhost:9000"
	if got, err := own.Interop(); got != want || err != nil {
		t.Errorf("own endpoint: got %+v, %v, want %+v", got, err, want)
	}
	for name, cfg := range map[string]gcs.Config{
		"no bucket":     {AccessKey: "a", SecretKey: "s"},
		"no secret":     {Bucket: "b", AccessKey: "a"},
		"no access key": {Bucket: "b", SecretKey: "s"},
		"no URL":        {Bucket: "b", AccessKey: "a", SecretKey: "s", Endpoint: "ftp://x"},
	} {
		if got, err := cfg.Interop(); err == nil {
			t.Errorf("%s: got %+v and no error", name, got)
		}
	}
}

package registry_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/registry"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 256)
	for _, tt := range []struct {
		parse func(string) error
		good  []string
		bad   []string
	}{
		{func(s string) error { _, err := registry.ParseName(s); return err },
			[]string{"a", "a/b", "a.b", "a__b", "a---b", "library/a_b", "tags/list", long[:255]},
			[]string{"", "A", "a//b", "/a", "a/", "..", "a/../b", "a..b", "a___b", "-a", "a-", "_layers", "a/_b", "a b", "a\x00", "a%2fb", "ä", "a\n", long}},
		{func(s string) error { _, err := registry.ParseReference(s); return err },
			[]string{"latest", "V1.0", "_x", "a-b", long[:128], digest.FromString("").String(), digest.SHA512.FromString("").String()},
			[]string{"", ".a", "-a", "a/b", "a b", "a\n", "..", long[:129], "sha256:", "sha256:" + long[:64] + "a", "sha256:" + strings.Repeat("A", 64),
				"sha1:" + long[:40], "md5:x", ":", "sha384:" + long[:96]}},
	} {
		for _, s := range tt.good {
			if err := tt.parse(s); err != nil {
				t.Errorf("%.80q: got %v", s, err)
			}
		}
		for _, s := range tt.bad {
			if err := tt.parse(s); code(err) == "" {
				t.Errorf("%.80q: got %v, want an error with a code", s, err)
			}
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"latest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "..", "a/b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := registry.ParseReference(s)
		if err == nil && (ref.String() != s || strings.ContainsAny(s, "/\x00%") || strings.HasPrefix(s, ".")) {
			t.Errorf("%q became %v", s, ref)
		}
		if name, err := registry.ParseName(s); err == nil && (string(name) != s || strings.Contains(s, "..") || strings.ContainsAny(s, "\x00%_") && strings.HasPrefix(s, "_")) {
			t.Errorf("%q became the name %v", s, name)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("sha512:00")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := registry.ParseDigest(s)
		if err == nil && (d.String() != s || len(d.Encoded()) != 2*d.Algorithm().Size()) {
			t.Errorf("%q became %v", s, d)
		}
	})
}

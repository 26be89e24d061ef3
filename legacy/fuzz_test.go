package legacy

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const someID = "0123456789abcdef"

// What is taken for the JSON of an image becomes a config that clients read as it was meant.
func FuzzImage(f *testing.F) {
	for _, seed := range []string{
		`{"id":"0123456789abcdef","parent":"fedcba9876543210","created":"2013-06-13T14:03:50.821769-07:00","container_config":{"Cmd":["/bin/sh"]}}`,
		`{"id":"0123456789abcdef","container_config":{"Cmd":"true"},"config":null,"architecture":null,"os":""}`,
		`{"id":"0123456789abcdef","RootFS":{"diff_ids":["sha256:x"]},"rootfſ":{},"history":[{}],"Size":-1}`,
		`{"id":"0123456789abcdef","config":{"Env":"A=b"}}`, `{"created":"yesterday"}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseImage(someID, data)
		if err != nil {
			if !isProblem(err) {
				t.Errorf("got error %v, want a problem", err)
			}
			return
		}
		empty := i.history()
		empty.EmptyLayer = true
		config, err := newConfig(data, []layer{{DiffID: digest.FromString("a")}}, []v1.History{i.history(), empty})
		if err != nil {
			return
		}
		var got v1.Image
		if err := json.Unmarshal(config, &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.RootFS.DiffIDs, []digest.Digest{digest.FromString("a")}) || got.RootFS.Type != "layers" ||
			len(got.History) != 2 || got.History[0].EmptyLayer || !got.History[1].EmptyLayer || got.Architecture == "" || got.OS == "" {
			t.Errorf("got %s", config)
		}
	})
}

// What is taken for an ancestry begins with the image itself and has each image once, under names that are safe in a key.
func FuzzLists(f *testing.F) {
	for _, seed := range []string{
		`["0123456789abcdef", "fedcba9876543210"]`, `["0123456789abcdef","0123456789abcdef"]`, `["fedcba9876543210"]`, `["../../etc/passwd"]`,
		`["sha256:00", "tarsum+sha256:11"]`, `"sha256:00"`, `sha256:00`, `{"digest":"","stored":1,"diff_id":"sha256:` + strings.Repeat("0", 64) + `"}`,
		`{"digest":"x","diff_id":"sha256:` + strings.Repeat("0", 64) + `"}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if ids, err := parseAncestry(someID, data); err == nil {
			if ids[0] != someID {
				t.Errorf("got ancestry %q", ids)
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != len(ids) || slices.ContainsFunc(ids, func(id string) bool { return strings.Trim(id, "0123456789abcdef") != "" }) {
				t.Errorf("got ancestry %q", ids)
			}
		}
		for _, sum := range parseChecksums(data) {
			if !bytes.Contains(data, []byte("sha256:")) && !bytes.Contains(data, []byte(`\`)) {
				t.Errorf("got check sum %q of %q", sum, data)
			}
		}
		if n, ok := parseNote(data); ok && (n.DiffID.Validate() != nil || n.Digest != "" && n.Digest.Validate() != nil) {
			t.Errorf("got note %+v", n)
		}
	})
}

// What is taken for a layer becomes a gzip of the same tar, under the right digests.
func FuzzLayer(f *testing.F) {
	plain := strings.Repeat("\x00", 1024)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte(plain))
	w.Close()
	for _, seed := range []string{plain, packed.String(), packed.String() + packed.String(), packed.String()[:20], plain[:100], "", "\x1f\x8b", "\xfd7zXZ\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		r := newRecoder(bytes.NewReader(stored))
		blob, readErr := io.ReadAll(r)
		l, err := r.result()
		if err != nil {
			return
		}
		if readErr != nil {
			t.Fatalf("got error %v, and then none", readErr)
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		tar, err := io.ReadAll(unpacked)
		if err != nil {
			t.Fatal(err)
		}
		if l.DiffID != digest.FromBytes(tar) || l.Digest != "" && (l.Digest != digest.FromBytes(blob) || l.Size != int64(len(blob))) {
			t.Errorf("got %+v", l)
		}
		if !bytes.Equal(tar, stored) && !bytes.Equal(blob, stored) {
			t.Errorf("neither the blob nor what is in it is what was stored")
		}
	})
}

// A layer that is not read to its end is let go of.
func TestRecoderStops(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(big)
	w.Close()
	for name, stored := range map[string]io.Reader{"gzip": &packed, "tar": strings.NewReader(strings.Repeat("\x00", 1<<20))} {
		r := newRecoder(stored)
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.result(); err == nil {
			t.Errorf("%s: a layer that was read in part is said to be whole", name)
		}
	}
}

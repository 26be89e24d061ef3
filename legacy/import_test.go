package legacy_test

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/legacy"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

var discard = slog.New(slog.DiscardHandler)

// A house is the new registry.
type house struct {
	*registry.Registry
	store drivers.Driver
}

func openIndex(t testing.TB) *index.DB {
	t.Helper()
	db, err := index.Open(t.Context(), index.Config{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// openHouse opens a registry; the caller closes it.
func openHouse(t testing.TB, store drivers.Driver, db *index.DB) *house {
	t.Helper()
	r, err := registry.Open(t.Context(), registry.Config{}, store, db, discard)
	if err != nil {
		t.Fatal(err)
	}
	return &house{r, store}
}

func (h *house) close(t testing.TB) {
	t.Helper()
	if err := h.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func newHouse(t testing.TB, store drivers.Driver) *house {
	t.Helper()
	h := openHouse(t, store, openIndex(t))
	t.Cleanup(func() { h.close(t) })
	return h
}

// clear empties an index, which takes less than to make a new one.
func clear(t testing.TB, db *index.DB) {
	t.Helper()
	if _, err := registry.Reindex(t.Context(), mem.New(), db, nil); err != nil {
		t.Fatal(err)
	}
}

// A journal is what a Watcher saw.
type journal struct {
	imported, private []string
	leftOut           map[string]string // why, by name
	progress          legacy.Progress
}

func (j *journal) Progress(p legacy.Progress) { j.progress = p }
func (j *journal) Private(name string)        { j.private = append(j.private, name) }
func (j *journal) LeftOut(name string, why error) {
	j.leftOut[name] += why.Error()
}

func (j *journal) Imported(name, _ string, to registry.Name, _ digest.Digest) {
	j.imported = append(j.imported, name+" "+string(to))
}

// bring imports from source. options change the import before it runs.
func (h *house) bring(t testing.TB, source legacy.Source, options ...func(*legacy.Import)) (legacy.Report, *journal, error) {
	t.Helper()
	tree, err := legacy.Scan(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{leftOut: make(map[string]string)}
	run := legacy.Import{From: tree, To: h.Registry, Store: h.store, Watch: j}
	for _, change := range options {
		change(&run)
	}
	report, err := run.Run(t.Context())
	return report, j, err
}

func dry(i *legacy.Import) { i.DryRun = true }

func renamed(t testing.TB, from, to string) func(*legacy.Import) {
	return func(i *legacy.Import) {
		if err := i.From.Rename(from, to); err != nil {
			t.Error(err)
		}
	}
}

func openFolder(t testing.TB, dir string) legacy.Folder {
	t.Helper()
	f, err := legacy.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// check pulls refs, and finds in each the files of the old image that it was.
func (h *house) check(t testing.TB, refs map[string]files) {
	t.Helper()
	web := httptest.NewServer(server.New(server.Config{}, h.Registry, nil, discard))
	defer web.Close()
	for ref, want := range refs {
		r, err := name.ParseReference(strings.TrimPrefix(web.URL, "http://")+"/"+ref, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		i, err := remote.Image(r)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if err := validate.Image(i); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		if got, err := extract(mutate.Extract(i)); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: got files %q, %v, want %q", ref, got, err, want)
		}
	}
}

// extract reads a tar.
func extract(r io.ReadCloser) (files, error) {
	defer r.Close()
	all := files{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		name := h.Name
		if h.Typeflag == tar.TypeDir {
			name = strings.TrimSuffix(name, "/") + "/"
		}
		all[name] = string(data)
	}
}

// town is a store with all that works, and the references under which that is pulled in the end.
func town(t testing.TB) (*oldStore, map[string]files) {
	o := newOldStore(t)
	base := o.image("", asGzip, files{"etc/": "", "etc/os": "debian", "bin/sh": "#!"})
	run := o.image(o.image(base, asNothing, nil), asTar, files{"app": "one", "etc/.wh.os": ""})
	second := o.image(o.image(run, asNothing, nil), asGzip, files{"app": "two", "big": strings.Repeat("0123456789", 100_000)})
	alone := o.image("", asTar, files{"alone": "yes"})
	none := o.image("", asNothing, nil)
	o.tag("library/app", "latest", second)
	o.tag("library/app", "1.0", run)
	o.tag("library/app", "_odd.Tag-1", run)
	o.tag("team/app", "latest", second)
	o.tag("team/app", "base", base)
	o.tag("team/deep%252Fer", "v1", alone)
	o.tag("team/empty", "latest", none)
	o.objects["repositories/team/app/_private"] = ""
	o.objects["repositories/team/app/_images_list"] = "[]"
	o.image(base, asGzip, files{"untagged": ""})
	s := o.images
	return o, map[string]files{"app:latest": s[second], "app:1.0": s[run], "app:_odd.Tag-1": s[run], "team/app:latest": s[second],
		"team/app:base": s[base], "team/deep/er:v1": s[alone], "team/empty:latest": {}}
}

// Every image of an old folder is pulled with every file that it had, and nothing in the folder has changed.
func TestImport(t *testing.T) {
	o, want := town(t)
	dir := o.inFolder()
	before := snapshot(t, dir)
	h := newHouse(t, mem.New())
	report, j, err := h.bring(t, openFolder(t, dir))
	if err != nil || len(j.leftOut) > 0 {
		t.Fatalf("got %v, left out %q", err, j.leftOut)
	}
	bytes := 0
	for key, data := range o.objects {
		if strings.HasSuffix(key, "/layer") {
			bytes += len(data)
		}
	}
	untagged := int64(bytes) - j.progress.Bytes
	if got := (legacy.Report{Repositories: 4, Imported: 7, Layers: 7, Bytes: j.progress.Bytes}); report != got || untagged <= 0 || untagged > 500 {
		t.Errorf("got %+v, want %+v, and %d of %d bytes unread", report, got, untagged, bytes)
	}
	if !slices.Equal(j.private, []string{"team/app"}) {
		t.Errorf("private: got %q", j.private)
	}
	h.check(t, want)
	if !maps.Equal(snapshot(t, dir), before) {
		t.Error("the old store has changed")
	}
}

// What is in a config is what Docker knew of the image; its history is the ancestry.
func TestConfig(t *testing.T) {
	o, _ := town(t)
	h := newHouse(t, mem.New())
	if _, _, err := h.bring(t, openFolder(t, o.inFolder())); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.New(server.Config{}, h.Registry, nil, discard))
	defer web.Close()
	r, err := name.ParseReference(strings.TrimPrefix(web.URL, "http://")+"/app:latest", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	i, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	m, err := i.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != types.DockerManifestSchema2 || m.Config.MediaType != types.DockerConfigJSON ||
		m.Annotations["com.github.parfait-registry.import-v1.image"] != o.objects["repositories/library/app/tag_latest"] {
		t.Errorf("got manifest %+v", m)
	}
	for _, l := range m.Layers {
		if l.MediaType != types.DockerLayer {
			t.Errorf("got layer %+v", l)
		}
	}
	if c.Author == "" || !slices.Equal(c.Config.OnBuild, []string{"ADD . /app"}) || c.Config.Volumes == nil || c.OS != "linux" {
		t.Errorf("got config %+v", c)
	}
	var history []string
	for i, line := range c.History {
		if i > 0 && !line.Created.After(c.History[i-1].Created.Time) || !strings.HasPrefix(line.CreatedBy, "/bin/sh -c #(nop) STEP ") {
			t.Errorf("got history %+v", line)
		}
		history = append(history, fmt.Sprint(line.EmptyLayer))
	}
	if got := strings.Join(history, " "); got != "false true false true false" || len(c.RootFS.DiffIDs) != 3 {
		t.Errorf("got a history of empty layers %s, and %d layers", got, len(c.RootFS.DiffIDs))
	}
}

// A layer that was sent as gzip keeps its bytes.
func TestGzipKept(t *testing.T) {
	o := newOldStore(t)
	id := o.image("", asGzip, files{"a": "b"})
	o.tag("library/a", "v", id)
	h := newHouse(t, mem.New())
	if _, _, err := h.bring(t, openFolder(t, o.inFolder())); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Blob(t.Context(), "a", digest.FromString(o.objects["images/"+id+"/layer"])); err != nil {
		t.Error(err)
	}
}

// A second run finds all done, and hardly looks. What is new is imported then, and what was moved; what somebody pushed
// is not touched.
func TestAgain(t *testing.T) {
	o, want := town(t)
	dir := o.inFolder()
	store := metered.New(mem.New())
	h := newHouse(t, store)
	if _, _, err := h.bring(t, openFolder(t, dir)); err != nil {
		t.Fatal(err)
	}
	before := store.Counts()
	report, _, err := h.bring(t, openFolder(t, dir))
	if want := (legacy.Report{Repositories: 4, Present: 7}); err != nil || report != want {
		t.Errorf("got %+v, %v, want %+v", report, err, want)
	}
	if calls := store.Counts().Sub(before).Calls(); calls != 0 {
		t.Errorf("got %d calls of the new store, want none", calls)
	}

	base := o.objects["repositories/team/app/tag_base"]
	o.tag("team/app", "latest", o.image(base, asGzip, files{"newer": "3"}))
	o.tag("team/new", "v1", base)
	mine := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	if _, err := h.PutManifest(t.Context(), "app", registry.Reference{Tag: "1.0"}, "", mine); err != nil {
		t.Fatal(err)
	}
	o.addTo(dir)
	report, j, err := h.bring(t, openFolder(t, dir))
	if report.Imported != 2 || report.Present != 5 || report.Layers != 1 || err != nil {
		t.Errorf("got %+v, %v", report, err)
	}
	if len(j.leftOut) != 1 || !strings.Contains(j.leftOut["library/app:1.0"], "was pushed to the new registry") {
		t.Errorf("left out: got %q", j.leftOut)
	}
	if m, err := h.Manifest(t.Context(), "app", registry.Reference{Tag: "1.0"}); err != nil || m.Digest != digest.FromBytes(mine) {
		t.Errorf("somebody's tag: got %s, %v", m.Digest, err)
	}
	delete(want, "app:1.0")
	want["team/app:latest"] = o.images[o.objects["repositories/team/app/tag_latest"]]
	want["team/new:v1"] = o.images[base]
	h.check(t, want)
}

// A dry run writes nothing, and says what the next run does.
func TestDryRun(t *testing.T) {
	o, _ := town(t)
	o.tag("library/broken", "v1", strings.Repeat("0", 64))
	dir := o.inFolder()
	before := snapshot(t, dir)
	store := metered.New(mem.New())
	h := newHouse(t, store)
	counts := store.Counts()
	would, planned, err := h.bring(t, openFolder(t, dir), dry)
	if err != nil {
		t.Fatal(err)
	}
	if n := store.Counts().Sub(counts).Calls(metered.OpCreate, metered.OpStage, metered.OpDelete, metered.OpCompose); n != 0 {
		t.Errorf("%d writes", n)
	}
	if repos, err := h.Repositories(t.Context(), "", 10, nil); err != nil || len(repos.Items) > 0 {
		t.Errorf("got repositories %v, %v", repos, err)
	}
	did, done, err := h.bring(t, openFolder(t, dir))
	if err != nil || did != would || did.LeftOut != 1 || !slices.Equal(planned.imported, done.imported) || !maps.Equal(planned.leftOut, done.leftOut) {
		t.Errorf("would be %+v %+v,\nwas %+v %+v, %v", would, planned, did, done, err)
	}
	if !maps.Equal(snapshot(t, dir), before) {
		t.Error("the old store has changed")
	}
}

// The new registry may be in the folder of the old one.
func TestSameFolder(t *testing.T) {
	o, want := town(t)
	dir := o.inFolder()
	before := snapshot(t, dir)
	store, err := local.Open(local.Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, store)
	if report, j, err := h.bring(t, openFolder(t, dir)); err != nil || report.Imported != len(want) || len(j.leftOut) > 0 {
		t.Fatalf("got %+v, %q, %v", report, j.leftOut, err)
	}
	h.check(t, want)
	after := snapshot(t, dir)
	maps.DeleteFunc(after, func(name, _ string) bool { return before[name] == "" })
	delete(before, dir) // in which new folders were made
	delete(after, dir)
	if !maps.Equal(before, after) {
		t.Error("the old store has changed")
	}
}

// The old store may be in a bucket, and the new one beside it. Names that are no keys are not seen there.
func TestS3(t *testing.T) {
	minio := harness.MinIO(t)
	cfg := s3.NewConfig()
	cfg.Endpoint, cfg.Bucket, cfg.Path = minio.URL, minio.NewBucket(t), "/registry"
	cfg.AccessKey, cfg.SecretKey = minio.AccessKey, minio.SecretKey
	store, err := s3.Open(t.Context(), cfg, discard)
	if err != nil {
		t.Fatal(err)
	}
	o, want := town(t)
	o.putTo(store)
	before := list(t, store, "")
	h := newHouse(t, store)
	if report, j, err := h.bring(t, store); err != nil || report.Imported != len(want)-1 || len(j.leftOut) > 0 {
		t.Fatalf("got %+v, %q, %v", report, j.leftOut, err)
	}
	delete(want, "team/deep/er:v1")
	h.check(t, want)
	if after := append(list(t, store, "images/"), list(t, store, "repositories/")...); !slices.Equal(after, before) {
		t.Errorf("the old store has changed: got %v, want %v", after, before)
	}
}

func list(t testing.TB, d drivers.Driver, prefix string) (objects []drivers.Object) {
	t.Helper()
	for o, err := range d.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b drivers.Object) int { return cmp.Compare(a.Key, b.Key) })
	return objects
}

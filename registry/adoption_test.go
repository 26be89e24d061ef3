package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

const root = "docker/registry/v2/"

// An old image is in a store whose index is lost.
type oldImage struct {
	repo          registry.Name
	config, layer v1.Descriptor
	manifest      []byte
	ref           registry.Reference // v1
}

func (o oldImage) digest() registry.Reference {
	return registry.Reference{Digest: digest.FromBytes(o.manifest)}
}

// lose fills a store with an image for each repository, in a tag v1 and an older one v0, and forgets the index.
func lose(t testing.TB, store drivers.Driver, repos ...registry.Name) []oldImage {
	t.Helper()
	f := open(t, registry.Config{}, store, index.Config{})
	var images []oldImage
	for _, repo := range repos {
		o := oldImage{repo: repo, config: push(t, f.Registry, repo, []byte(repo)), layer: push(t, f.Registry, repo, random(100)),
			ref: registry.Reference{Tag: "v1"}}
		o.manifest = image(o.config, o.layer)
		for tag, data := range map[string][]byte{"v0": image(o.config), "v1": o.manifest} {
			if _, err := f.PutManifest(t.Context(), repo, registry.Reference{Tag: tag}, "", data); err != nil {
				t.Fatal(err)
			}
		}
		images = append(images, o)
	}
	f.close(t)
	return images
}

// holdUp has lists wait until gate is closed.
func holdUp(gate <-chan struct{}, prefixes ...string) func(drivertest.Op) error {
	return func(op drivertest.Op) error {
		if op.Kind == drivertest.List && slices.Contains(prefixes, op.Key) {
			<-gate
		}
		return nil
	}
}

// TestAdoptionServes has clients do everything before anything was read in the background. What the index lacks is found
// in the store at once, and what they have changed stays.
func TestAdoptionServes(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		images := lose(t, p.store, "a", "b", "c", "d")
		a, b, c, d := images[0], images[1], images[2], images[3]
		gate := make(chan struct{})
		f := open(t, registry.Config{}, drivertest.Faulty(p.store, holdUp(gate, root)), index.Config{Database: p.database})
		defer f.close(t)
		ctx := t.Context()
		if !f.Adoption().UnderWay {
			t.Fatal("there is nothing to adopt")
		}
		for _, ref := range []registry.Reference{a.ref, a.digest()} {
			if m, err := f.Manifest(ctx, "a", ref); err != nil || string(m.Payload) != string(a.manifest) {
				t.Errorf("manifest %s: got %q, %v", ref, m.Payload, err)
			}
		}
		if got := digest.FromBytes(read(t, f.Registry, "a", a.layer.Digest)); got != a.layer.Digest {
			t.Errorf("blob: got %s", got)
		}
		if _, err := f.Manifest(ctx, "a", registry.Reference{Tag: "v2"}); code(err) != registry.ManifestUnknown {
			t.Errorf("a tag that is nowhere: got %v", err)
		}
		if _, err := f.Blob(ctx, "a", b.layer.Digest); code(err) != registry.BlobUnknown {
			t.Errorf("a blob that is elsewhere: got %v", err)
		}
		if _, err := f.MountBlob(ctx, "new", d.config.Digest, "d", nil); err != nil {
			t.Errorf("mount: %v", err)
		}
		moved := image(b.layer, b.config)
		if _, err := f.PutManifest(ctx, "b", b.ref, "", moved); err != nil {
			t.Errorf("a manifest of known blobs: %v", err)
		}
		if err := f.DeleteManifest(ctx, "c", c.ref); err != nil {
			t.Errorf("delete a tag: %v", err)
		}
		if err := f.DeleteManifest(ctx, "d", d.digest()); err != nil {
			t.Errorf("delete a manifest: %v", err)
		}
		if err := f.DeleteBlob(ctx, "d", d.layer.Digest); err != nil {
			t.Errorf("delete a blob: %v", err)
		}
		if tags, err := f.Tags(ctx, "b", "", 10); err != nil || !slices.Equal(tags.Items, []string{"v0", "v1"}) {
			t.Errorf("tags: got %v, %v", tags, err)
		}
		if _, err := f.Tags(ctx, "nowhere", "", 10); code(err) != registry.NameUnknown {
			t.Errorf("tags of a repository that is nowhere: got %v", err)
		}

		close(gate)
		f.adopted(t)
		f.flush(t)
		checkAgreement(t, p.store, f.db)
		if m, err := f.Manifest(ctx, "b", b.ref); err != nil || string(m.Payload) != string(moved) {
			t.Errorf("the tag that was moved: got %q, %v", m.Payload, err)
		}
		for repo, ref := range map[registry.Name]registry.Reference{"c": c.ref, "d": d.ref} {
			if _, err := f.Manifest(ctx, repo, ref); code(err) != registry.ManifestUnknown {
				t.Errorf("what was deleted from %s: %v", repo, err)
			}
		}
		if repos, err := f.Repositories(ctx, "", 10, nil); err != nil || len(repos.Items) != 4 {
			t.Errorf("repositories: got %v, %v", repos, err)
		}
	})
}

// TestAdoptionTakesLong has a client ask for the list of a repository that takes longer than it waits.
func TestAdoptionTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, gate := mem.New(), make(chan struct{})
		lose(t, store, "a")
		f := open(t, registry.Config{}, drivertest.Faulty(store, holdUp(gate, root, root+"repositories/a/_")), index.Config{})
		if _, err := f.Tags(t.Context(), "a", "", 10); code(err) != registry.Unavailable {
			t.Errorf("got %v, want to be asked to come back", err)
		}
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Tag: "v1"}); code(err) != registry.Unavailable {
			t.Errorf("got %v, want to be asked to come back", err)
		}
		close(gate)
		if tags, err := f.Tags(t.Context(), "a", "", 10); err != nil || len(tags.Items) != 2 {
			t.Errorf("got %v, %v, want both tags", tags, err)
		}
		f.close(t)
	})
}

// TestAdoptionGoesOn ends the process in the middle of an adoption, in order or not, at any step. The next one goes on.
func TestAdoptionGoesOn(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		var repos []registry.Name
		for i := range 40 {
			repos = append(repos, registry.Name(fmt.Sprintf("repo%02d", i)))
		}
		lose(t, p.store, repos...)
		ic := index.Config{Database: p.database}
		if ic.Database == "" {
			ic.Database = sqliteFile(t)
		}
		reads := 0 // of links, until all is adopted
		for n := int64(1); ; n += 37 {
			count, stop := new(atomic.Int64), make(chan struct{}, 1)
			var links atomic.Int64
			f := open(t, registry.Config{}, drivertest.Faulty(p.store, func(op drivertest.Op) error {
				if op.Kind == drivertest.Open && strings.HasSuffix(op.Key, "/link") {
					links.Add(1)
				}
				if strings.HasPrefix(op.Key, root) && op.Kind != drivertest.Stage && count.Add(1) > n {
					select {
					case stop <- struct{}{}:
					default:
					}
					return drivertest.ErrInjected
				}
				return nil
			}), ic)
			for f.Adoption().UnderWay && len(stop) == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			done := !f.Adoption().UnderWay
			if n%2 == 0 {
				f.abandon(t)
			} else if err := f.Close(context.Background()); err != nil && !errors.Is(err, drivertest.ErrInjected) {
				t.Error(err)
			}
			f.db.Close()
			reads += int(links.Load())
			if done {
				break
			}
		}
		f := open(t, registry.Config{}, p.store, ic)
		defer f.close(t)
		if f.Adoption().UnderWay {
			t.Error("it begins anew")
		}
		checkAgreement(t, p.store, f.db)
		if reads > 4*2*len(repos) {
			t.Errorf("%d links were read to adopt %d tags", reads, 2*len(repos))
		}
	})
}

// TestAdoptionReports finds broken things in a store, and what distribution has left: the log names them, and all else is
// adopted.
func TestAdoptionReports(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		old := lose(t, p.store, "a")[0]
		content := []byte("pushed by its sha512")
		short, long := digest.FromBytes(content), digest.SHA512.FromBytes(content)
		none := digest.FromString("nothing")
		link := func(kind string, d digest.Digest) string {
			return root + "repositories/a/" + kind + "/" + string(d.Algorithm()) + "/" + d.Encoded() + "/link"
		}
		data := func(d digest.Digest) string {
			return root + "blobs/" + string(d.Algorithm()) + "/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
		}
		for key, text := range map[string]string{
			data(short):                        string(content),
			link("_layers", short):             short.String(),
			link("_layers", long):              short.String(),
			data(none):                         "something else",
			link("_manifests/revisions", none): none.String(),
			link("_manifests/revisions", digest.FromString("missing")):  digest.FromString("missing").String(),
			link("_layers", digest.FromString("no data")):               digest.FromString("no data").String(),
			root + "repositories/a/_manifests/tags/broken/current/link": "neither a digest nor anything",
			root + "repositories/a/_manifests/tags/astray/current/link": none.String(),
			root + "repositories/a/_uploads/5/startedat":                "2020-01-01T00:00:00Z",
			root + "somebody/elses":                                     "",
			root + "blobs/foreign":                                      "",
		} {
			if err := drivers.Put(t.Context(), p.store, key, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		var log logtest.Buffer
		db, err := index.Open(t.Context(), index.Config{Database: p.database}, discard)
		if err != nil {
			t.Fatal(err)
		}
		r, err := registry.Open(t.Context(), registry.Config{}, p.store, db, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{r, p.store, db}
		defer f.close(t)
		f.adopted(t)
		for _, want := range []string{"blobs/foreign", "somebody/elses", "tags/broken", "tag astray", none.Encoded(), "lacks the manifest", "lacks the blob"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not name %s", want)
			}
		}
		if got := f.Adoption(); got.Problems != 7 || got.Tags != 2 || got.Manifests != 2 || got.Repositories != 1 {
			t.Errorf("got %+v", got)
		}
		if m, err := f.Manifest(t.Context(), "a", old.ref); err != nil || string(m.Payload) != string(old.manifest) {
			t.Errorf("what is well: got %q, %v", m.Payload, err)
		}
		for _, d := range []digest.Digest{short, long} {
			if got := read(t, r, "a", d); string(got) != string(content) {
				t.Errorf("%s: got %q", d, got)
			}
		}
		if _, err := f.PutManifest(t.Context(), "a", registry.Reference{Digest: none}, "", []byte("nothing")); code(err) != registry.ManifestInvalid {
			t.Errorf("got %v", err)
		}
	})
}

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestInterop passes a store from Parfait to distribution and back. Whoever has it serves what the other one has
// pushed, every byte of it, and no more.
func TestInterop(t *testing.T) {
	p := newPusher(t)
	s := harness.StartParfait(t, quiet(""))
	p.use(s)
	p.push("first", postPut, postPatchPut, postChunks, postDigest)
	p.blob("first", digest.SHA512, newRawBlob(p.rand, 1000))
	p.compare()
	stopWell(t, s)

	collectGarbage(t, s.Storage)
	d := harness.StartDistribution(t, s.Storage)
	p.use(d)
	p.compare()
	p.pull(d, "first:v1", "first/nested/deep:multi")
	p.push("second", postPut, postPatchPut, postChunks)
	p.change("first")
	p.compare()
	d.Stop()

	out, status := harness.RunParfait(t, quiet(s.Storage), "reindex")
	if status != 0 || !strings.Contains(out, " 0 things left out") {
		t.Errorf("reindex: got exit status %d, want 0 and nothing left out\n%s", status, out)
	}
	s = harness.StartParfait(t, quiet(s.Storage))
	p.use(s)
	p.compare()
	p.referrers("first", "second")
	p.pull(s, "second:v1", "second/nested/deep:multi")
	p.push("third", postPut, postPatchPut)
	p.change("second")
	stopWell(t, s)
	checkIndex(t, s.Storage)

	d = harness.StartDistribution(t, s.Storage)
	p.use(d)
	p.compare()
}

func stopWell(t *testing.T, s *harness.Server) {
	t.Helper()
	if status := s.Stop(); status != 0 {
		t.Errorf("stop: got exit status %d, want 0", status)
	}
}

// collectGarbage has distribution look for what nothing refers to: the three parts of the image that was deleted, and
// the blob that was never part of one.
func collectGarbage(t *testing.T, store string) {
	t.Helper()
	config := harness.DistributionConfig(t, store, "127.0.0.1:0")
	cmd := exec.CommandContext(t.Context(), harness.Tool(t, "registry"), "garbage-collect", "--dry-run", config)
	cmd.Env = append(cmd.Environ(), "OTEL_TRACES_EXPORTER=none")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("garbage-collect: %v\n%s", err, out)
	}
	if want := "4 blobs and 0 manifests eligible for deletion"; !strings.Contains(string(out), want) {
		t.Errorf("garbage-collect: got %s, want %q", out, want)
	}
}

// A pusher fills registries, and knows what they have to have.
type pusher struct {
	t       *testing.T
	rand    *rand.Rand
	known   *ledger
	web     *rawClient
	subject map[string]digest.Digest // by repository; one artifact refers to each

	// Whether the registry cannot delete a tag, as those before version 3 of distribution cannot. The manifest goes then.
	tagsStay bool
}

func newPusher(t *testing.T) *pusher {
	return &pusher{t: t, rand: rand.New(rand.NewPCG(4, 4)), known: newLedger(), subject: make(map[string]digest.Digest)}
}

// use has the pusher talk to s from now on.
func (p *pusher) use(s *harness.Server) {
	p.web = newRawClient(s.URL)
	p.t.Cleanup(p.web.close)
}

// push fills the repositories repo and repo/nested/deep with images of all kinds. It uses each of shapes.
func (p *pusher) push(repo string, shapes ...rawShape) {
	p.t.Helper()
	layer := func() []byte { return newRawBlob(p.rand, 1+p.rand.IntN(64<<10)) }
	for i, shape := range shapes {
		p.image(repo, fmt.Sprint("v", i), shape, newRawImage(p.rand, layer(), layer(), layer()))
	}
	first := newRawImage(p.rand, layer(), layer())
	p.image(repo, "v1", postPut, first) // moves a tag
	p.image(repo, "no-layers", postPut, newRawImage(p.rand))
	p.image(repo, "empty-layer", postPut, newRawImage(p.rand, []byte{}, layer()))
	p.image(repo, "docker", postPut, newRawImage(p.rand, layer(), layer()).docker())
	p.subject[repo] = first.digest()
	subject := first.descriptor()
	artifact := newRawManifest(v1.Manifest{ArtifactType: "application/vnd.example", Subject: &subject}, []byte("{}"), layer())
	p.image(repo, "", postPut, artifact)
	p.image(repo, "gone", postPut, newRawImage(p.rand, layer()))
	p.deleteTag(repo, "gone")
	gone := newRawImage(p.rand, layer())
	p.image(repo, "gone-for-good", postPut, gone)
	p.delete(repo, gone.digest().String())

	deep := repo + "/nested/deep"
	children := []rawManifest{newRawImage(p.rand, layer()), newRawImage(p.rand, layer())}
	for _, child := range children {
		p.image(deep, "", postPut, child)
	}
	p.image(deep, "multi", postPut, newRawIndex(children...))
	for i := range children {
		children[i] = children[i].docker()
		p.image(deep, "", postPut, children[i])
	}
	p.image(deep, "docker-multi", postPut, newRawIndex(children...).docker())
	p.mount(repo, deep, digest.FromBytes(first.blobs[0]))
}

// change changes what push has pushed.
func (p *pusher) change(repo string) {
	p.t.Helper()
	p.image(repo, "v1", postPut, newRawImage(p.rand, newRawBlob(p.rand, 100)))
	p.image(repo, "new", postPut, newRawImage(p.rand, newRawBlob(p.rand, 100)))
	p.deleteTag(repo, "docker")
	d, _ := p.known.state(fact{"tags", repo, "no-layers"})
	p.delete(repo, d.String())
}

func (p *pusher) attempt(changes map[fact]digest.Digest, do func() error) {
	p.t.Helper()
	if err := p.known.attempt(changes, do); err != nil {
		p.t.Fatal(err)
	}
}

// image pushes m with its blobs to a tag, or without one.
func (p *pusher) image(repo, tag string, shape rawShape, m rawManifest) {
	p.t.Helper()
	changes := map[fact]digest.Digest{{"manifests", repo, m.digest().String()}: m.digest()}
	if tag != "" {
		changes[fact{"tags", repo, tag}] = m.digest()
	}
	for _, b := range m.blobs {
		d := digest.FromBytes(b)
		changes[fact{"blobs", repo, d.String()}] = d
	}
	p.known.types[m.digest()] = m.mediaType
	p.attempt(changes, func() error { return p.web.pushImage(p.t.Context(), repo, tag, shape, m) })
}

// blob pushes a blob under a digest of some algorithm.
func (p *pusher) blob(repo string, algorithm digest.Algorithm, content []byte) {
	p.t.Helper()
	d := algorithm.FromBytes(content)
	p.attempt(map[fact]digest.Digest{{"blobs", repo, d.String()}: d}, func() error {
		_, err := p.web.pushBlobAs(p.t.Context(), repo, d, postPatchPut, content)
		return err
	})
}

// deleteTag deletes a tag, which alone points to its manifest.
func (p *pusher) deleteTag(repo, tag string) {
	p.t.Helper()
	if p.tagsStay {
		d, _ := p.known.state(fact{"tags", repo, tag})
		tag = d.String()
	}
	p.delete(repo, tag)
}

// delete deletes a tag, or a manifest with all its tags.
func (p *pusher) delete(repo, ref string) {
	p.t.Helper()
	changes := map[fact]digest.Digest{{"tags", repo, ref}: ""}
	if strings.Contains(ref, ":") {
		changes = map[fact]digest.Digest{{"manifests", repo, ref}: ""}
		for _, f := range p.known.facts {
			if d, _ := p.known.state(f); f.kind == "tags" && f.repo == repo && d.String() == ref {
				changes[f] = ""
			}
		}
	}
	p.attempt(changes, func() error {
		_, err := p.web.want(p.t.Context(), http.StatusAccepted, "DELETE", "/v2/"+repo+"/manifests/"+ref, nil)
		return err
	})
}

func (p *pusher) mount(from, to string, d digest.Digest) {
	p.t.Helper()
	p.attempt(map[fact]digest.Digest{{"blobs", to, d.String()}: d}, func() error {
		_, err := p.web.want(p.t.Context(), http.StatusCreated, "POST", "/v2/"+to+"/blobs/uploads/?mount="+d.String()+"&from="+from, nil)
		return err
	})
}

// look reads everything there is.
func (p *pusher) look() {
	p.t.Helper()
	for _, err := range p.known.look(p.t.Context(), p.web, p.known.facts) {
		p.t.Error(err)
	}
}

// compare reads everything there is, and the lists.
func (p *pusher) compare() {
	p.t.Helper()
	ctx := p.t.Context()
	p.look()
	tags := make(map[string]map[string]bool)
	for _, f := range p.known.facts {
		if d, _ := p.known.state(f); f.kind == "tags" && d != "" {
			if tags[f.repo] == nil {
				tags[f.repo] = make(map[string]bool)
			}
			tags[f.repo][f.ref] = true
		}
	}
	for repo, want := range tags {
		if err := sameTags(ctx, p.web, repo, want); err != nil {
			p.t.Error(err)
		}
	}
	if got, err := catalog(ctx, p.web); err != nil || !slices.Equal(got, slices.Sorted(maps.Keys(tags))) {
		p.t.Errorf("catalog: got %q, %v, want %q", got, err, slices.Sorted(maps.Keys(tags)))
	}
}

func catalog(ctx context.Context, c *rawClient) ([]string, error) {
	a, err := c.want(ctx, http.StatusOK, "GET", "/v2/_catalog?n=100", nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Repositories []string }
	err = json.Unmarshal(a.body, &list)
	return list.Repositories, err
}

// referrers finds the artifact that push has pushed, which distribution does not list.
func (p *pusher) referrers(repos ...string) {
	p.t.Helper()
	for _, repo := range repos {
		var list v1.Index
		a, err := p.web.want(p.t.Context(), http.StatusOK, "GET", "/v2/"+repo+"/referrers/"+p.subject[repo].String(), nil)
		if err == nil {
			err = json.Unmarshal(a.body, &list)
		}
		if err != nil || len(list.Manifests) != 1 || list.Manifests[0].ArtifactType != "application/vnd.example" {
			p.t.Errorf("referrers in %s: got %s, %v, want the one artifact", repo, a.body, err)
		}
	}
}

// pull has crane pull what refs name, and look at all of it.
func (p *pusher) pull(s *harness.Server, refs ...string) {
	p.t.Helper()
	crane := harness.Tool(p.t, "crane")
	for _, ref := range refs {
		args := []string{"pull", "--insecure", "--platform=all", "--format=oci", s.Addr + "/" + ref, p.t.TempDir()}
		if out, err := exec.CommandContext(p.t.Context(), crane, args...).CombinedOutput(); err != nil {
			p.t.Errorf("crane pull %s: %v\n%s", ref, err, out)
		}
	}
}

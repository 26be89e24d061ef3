package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A ledger is what a client has to find in a registry. It is for one goroutine at a time.
//
// A fact has the state that was acknowledged last. If the answer to a request never came, what that was to change may
// have changed or not: then the fact has several states, until somebody looks.
type ledger struct {
	states  map[fact][]digest.Digest // what a fact may point to; "" is that there is none
	facts   []fact                   // all of them, in the order of their first change
	touched map[fact]bool            // those that changed, or were to, since the last look
	types   map[digest.Digest]string // media types of manifests
	acked   int                      // acknowledged changes
}

// A fact is what a repository may have: a blob, a manifest or a tag.
type fact struct {
	kind string // "blobs", "manifests" or "tags"
	repo string
	ref  string // a digest, or the name of a tag
}

func newLedger() *ledger {
	return &ledger{states: make(map[fact][]digest.Digest), touched: make(map[fact]bool), types: make(map[digest.Digest]string)}
}

// clone returns a ledger that can be changed apart from l.
func (l *ledger) clone() *ledger {
	c := *l
	c.states, c.touched = maps.Clone(l.states), maps.Clone(l.touched)
	return &c
}

// attempt does what is to bring facts into new states, and notes how that went.
func (l *ledger) attempt(changes map[fact]digest.Digest, do func() error) error {
	for f, s := range changes {
		if l.states[f] == nil {
			l.facts = append(l.facts, f)
			l.states[f] = []digest.Digest{""}
		}
		l.states[f] = append(l.states[f], s)
		l.touched[f] = true
	}
	if err := do(); err != nil {
		return err
	}
	for f, s := range changes {
		l.acknowledge(f, s)
	}
	return nil
}

// acknowledge notes that a fact is in a state.
func (l *ledger) acknowledge(f fact, s digest.Digest) {
	l.states[f] = []digest.Digest{s}
	l.acked++
}

// state returns the state of a fact. ok is false if it has several.
func (l *ledger) state(f fact) (d digest.Digest, ok bool) {
	states := l.states[f]
	if len(states) != 1 {
		return "", len(states) == 0
	}
	return states[0], true
}

// some returns one of the facts that certainly are, and that wanted likes; ok is false if there are none.
func (l *ledger) some(r *rand.Rand, wanted func(fact) bool) (f fact, d digest.Digest, ok bool) {
	for i, n := r.IntN(len(l.facts)+1), 0; n < len(l.facts); i, n = i+1, n+1 {
		f := l.facts[i%len(l.facts)]
		if d, ok := l.state(f); ok && d != "" && wanted(f) {
			return f, d, true
		}
	}
	return fact{}, "", false
}

// look compares facts with what the registry has, all bytes included, and takes over what was open until then.
func (l *ledger) look(ctx context.Context, c *rawClient, facts []fact) []error {
	var errs []error
	for _, f := range facts {
		got, err := l.read(ctx, c, f)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %s of %s: %w", f.kind, f.ref, f.repo, err))
		case !slices.Contains(l.states[f], got):
			errs = append(errs, fmt.Errorf("%s %s of %s: got %q, want one of %q", f.kind, f.ref, f.repo, got, l.states[f]))
		}
		l.states[f] = []digest.Digest{got}
		delete(l.touched, f)
	}
	return errs
}

// recent returns the facts that were touched, and n others.
func (l *ledger) recent(r *rand.Rand, n int) []fact {
	var facts []fact
	for _, f := range l.facts {
		if l.touched[f] || r.IntN(len(l.facts)) < n {
			facts = append(facts, f)
		}
	}
	return facts
}

// acceptManifests is what distribution wants to see.
var acceptManifests = []string{
	"Accept", v1.MediaTypeImageManifest, "Accept", v1.MediaTypeImageIndex,
	"Accept", dockerManifest, "Accept", dockerManifestList,
}

// read returns the state that the registry shows of a fact. What is there has to be whole.
func (l *ledger) read(ctx context.Context, c *rawClient, f fact) (digest.Digest, error) {
	kind := f.kind
	if kind == "tags" {
		kind = "manifests"
	}
	a, err := c.do(ctx, "GET", "/v2/"+f.repo+"/"+kind+"/"+f.ref, nil, acceptManifests...)
	if err != nil {
		return "", err
	}
	if a.status == http.StatusNotFound {
		return "", nil
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("got %d %s", a.status, a.body)
	}
	algorithm := digest.Canonical
	if f.kind != "tags" {
		algorithm = digest.Digest(f.ref).Algorithm()
	}
	d := algorithm.FromBytes(a.body)
	if f.kind != "tags" && d.String() != f.ref {
		return "", fmt.Errorf("got %d bytes with the digest %s", len(a.body), d)
	}
	if got, want := a.header.Get("Docker-Content-Digest"), d.String(); got != want {
		return "", fmt.Errorf("got the header Docker-Content-Digest %q, want %q", got, want)
	}
	if got, want := a.header.Get("Content-Type"), l.types[d]; kind == "manifests" && got != want {
		return "", fmt.Errorf("got the media type %q, want %q", got, want)
	}
	return d, nil
}

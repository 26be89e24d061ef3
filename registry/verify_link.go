package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/index"
)

// A shownRepository is a repository whose links are being looked at.
type shownRepository struct {
	repo    Name
	last    string                   // key
	waiting []index.Entry            // facts that links show, to be looked at together
	seen    map[index.Entry]struct{} // all of them
}

// links compares the links in the store with the facts that they show, and with those that they do not.
func (w *verification) links(ctx context.Context) error {
	var r shownRepository
	for o, err := range w.Store.List(ctx, root+"repositories/", w.walked.Reached) {
		if err != nil {
			return err
		}
		l, err := parseLink(o.Key)
		if err != nil {
			continue // somebody else's
		}
		if l.repo != r.repo {
			if err := w.finishLinks(ctx, &r); err != nil {
				return err
			}
			r = shownRepository{repo: l.repo, seen: make(map[index.Entry]struct{})}
		}
		r.last = o.Key
		if e, ok := l.entry(); ok {
			r.waiting = append(r.waiting, e)
			r.seen[e] = struct{}{}
		}
		if len(r.waiting) == verificationPage {
			if err := w.checkLinks(ctx, &r); err != nil {
				return err
			}
		}
	}
	if err := w.finishLinks(ctx, &r); err != nil {
		return err
	}
	return w.reach(ctx, beyondStore)
}

// entry names the fact that a link shows.
func (l link) entry() (e index.Entry, ok bool) {
	switch l.kind {
	case layerLink:
		return index.Entry{Repo: string(l.repo), Kind: index.Layer, Ref: l.digest.String()}, true
	case revisionLink:
		return index.Entry{Repo: string(l.repo), Kind: index.Revision, Ref: l.digest.String()}, true
	case tagLink:
		return index.Entry{Repo: string(l.repo), Kind: index.Tag, Ref: l.tag}, true
	default:
		return index.Entry{}, false
	}
}

// entryKey is where the link is that shows a fact.
func entryKey(e index.Entry) string {
	switch repo := Name(e.Repo); e.Kind {
	case index.Layer:
		return layerKey(repo, digest.Digest(e.Ref))
	case index.Revision:
		return revisionKey(repo, digest.Digest(e.Ref))
	default:
		return tagKey(repo, e.Ref)
	}
}

// finishLinks looks for the facts of a repository that no link shows.
func (w *verification) finishLinks(ctx context.Context, r *shownRepository) error {
	if r.repo == "" {
		return nil
	}
	if err := w.checkLinks(ctx, r); err != nil {
		return err
	}
	if err := w.checkFacts(ctx, r); err != nil {
		return err
	}
	return w.reach(ctx, r.last)
}

// checkLinks compares the links that wait with the index.
func (w *verification) checkLinks(ctx context.Context, r *shownRepository) error {
	has, err := w.Index.Digests(ctx, r.waiting)
	if err != nil {
		return err
	}
	shows := make([]linkState, len(r.waiting))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(lookupsAtOnce)
	for i, e := range r.waiting {
		g.Go(func() (err error) {
			shows[i], err = w.look(groupCtx, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, e := range r.waiting {
		w.verified.Links++
		if shows[i].agrees(e, has[i]) {
			continue
		}
		if err := w.checkLink(ctx, e); err != nil {
			return err
		}
	}
	r.waiting = r.waiting[:0]
	return w.tick(ctx)
}

// A linkState is what a link shows.
type linkState struct {
	there   bool
	target  digest.Digest // what it holds; empty if that is no digest
	problem string        // why it is none
}

// look reads a link.
func (w *verification) look(ctx context.Context, e index.Entry) (s linkState, err error) {
	s.target, err = readLink(ctx, w.Store, entryKey(e))
	if errors.Is(err, fs.ErrNotExist) {
		return linkState{}, nil
	}
	s.there = true
	if broken, ok := errors.AsType[*Error](err); ok {
		s.problem = broken.Message
		return s, nil
	}
	return s, err
}

// agrees reports whether a link shows the fact e, whose digest is d, or rightly shows none. For a layer by its sha512,
// distribution has the link hold the sha256.
func (s linkState) agrees(e index.Entry, d digest.Digest) bool {
	if e.Kind == index.Layer && d != "" && d.Algorithm() != digest.Canonical {
		return s.target != ""
	}
	return s.there == (d != "") && s.target == d
}

// checkLink looks again at a fact that the store does not seem to show as it is.
func (w *verification) checkLink(ctx context.Context, e index.Entry) error {
	var s linkState
	var has digest.Digest
	for range 2 { // a fact may change, and be shown, between a look at the one and a look at the other
		var err error
		if s, err = w.look(ctx, e); err != nil {
			return err
		}
		digests, err := w.Index.Digests(ctx, []index.Entry{e})
		if err != nil || s.agrees(e, digests[0]) {
			return err
		}
		has = digests[0]
		posted, err := w.Index.Posted(ctx, e)
		if posted || err != nil { // it is on its way
			return err
		}
	}
	f := Finding{Defect: WrongLink, Key: entryKey(e), Detail: s.problem}
	switch {
	case has == "":
		f.Defect, f.Detail = ExtraLink, "the index has no such thing"
		return w.found(f, nil)
	case !s.there:
		f.Defect = MissingLink
	case f.Detail == "":
		f.Detail = fmt.Sprintf("it holds %s, not %s", s.target, has)
	}
	return w.found(f, func() error {
		posted, err := w.Index.Post(ctx, e)
		if err != nil {
			return err
		}
		return w.outbox.adopt(ctx, []index.Entry{posted})
	})
}

// checkFacts looks for the facts of a repository that were not seen in the store.
func (w *verification) checkFacts(ctx context.Context, r *shownRepository) error {
	for _, kind := range []index.Kind{index.Layer, index.Revision, index.Tag} {
		for after := ""; ; {
			page, err := w.Index.Entries(ctx, string(r.repo), kind, after, verificationPage)
			if err != nil {
				return err
			}
			for _, e := range page {
				if _, seen := r.seen[e]; seen {
					continue
				}
				if err := w.checkLink(ctx, e); err != nil {
					return err
				}
			}
			if len(page) < verificationPage {
				break
			}
			after = page[len(page)-1].Ref
		}
	}
	return nil
}

// unshown looks at the repositories of the index of which the store shows nothing at all.
func (w *verification) unshown(ctx context.Context, after string) error {
	for {
		repos, err := w.Index.AllRepositories(ctx, after, verificationPage)
		if err != nil || len(repos) == 0 {
			return err
		}
		for _, after = range repos {
			some, err := w.shows(ctx, repositoryKey(Name(after))+"_")
			if err != nil {
				return err
			}
			if !some {
				if err := w.checkFacts(ctx, &shownRepository{repo: Name(after)}); err != nil {
					return err
				}
			}
			if err := w.reach(ctx, beyondStore+after); err != nil {
				return err
			}
		}
	}
}

// shows reports whether the store has anything under a prefix.
func (w *verification) shows(ctx context.Context, prefix string) (bool, error) {
	for _, err := range w.Store.List(ctx, prefix, "") {
		return err == nil, err
	}
	return false, nil
}

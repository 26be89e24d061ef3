package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/index"
)

// orAdopt asks the index, and once more if it does not know and adopt has had it look in the store.
func orAdopt[T any](ctx context.Context, a *adoption, repo Name, ask func() (T, error), adopt func() error) (T, error) {
	over := a.over.Load() // before the question, the answer to which may be older than the end of the adoption
	found, err := ask()
	if over || !errors.Is(err, index.ErrNotFound) {
		return found, err
	}
	if unadopted, err := a.index.Unadopted(ctx, string(repo)); err != nil {
		return found, err
	} else if unadopted {
		if err := adopt(); err != nil {
			return found, err
		}
	}
	return ask()
}

// reference adopts the manifest that ref names, and the tag if it is one.
func (a *adoption) reference(ctx context.Context, repo Name, ref Reference) error {
	if ref.Tag == "" {
		return a.manifest(ctx, repo, ref.Digest)
	}
	d, err := readLink(ctx, a.store, tagKey(repo, ref.Tag))
	if err != nil {
		return a.leftOut(err)
	}
	return a.manifest(ctx, repo, d, index.TagTarget{Tag: ref.Tag, Digest: d})
}

// manifest adopts a manifest, and tags that point to it.
func (a *adoption) manifest(ctx context.Context, repo Name, d digest.Digest, tags ...index.TagTarget) error {
	if _, err := readLink(ctx, a.store, revisionKey(repo, d)); err != nil {
		return a.leftOut(err)
	}
	m, err := readManifest(ctx, a.store, d)
	if err != nil {
		return a.leftOut(err)
	}
	_, err = adopter{a}.Adopt(ctx, index.Batch{Repo: string(repo), Manifests: []index.Manifest{m}, Tags: tags})
	return err
}

// blob adopts a blob of a repository.
func (a *adoption) blob(ctx context.Context, repo Name, d digest.Digest) error {
	key := layerKey(repo, d)
	if _, err := readLink(ctx, a.store, key); err != nil {
		return a.leftOut(err)
	}
	size, err := a.index.Size(ctx, d)
	if errors.Is(err, index.ErrNotFound) {
		size, err = findBlob(ctx, a.store, key, d, true)
	}
	if err != nil {
		return a.leftOut(err)
	}
	_, err = adopter{a}.Adopt(ctx, index.Batch{Repo: string(repo), Layers: []index.Blob{{Digest: d, Size: size}}})
	return err
}

// leftOut returns nil for the error of something that is not there or broken: whoever reads the whole store reports it.
func (a *adoption) leftOut(err error) error {
	if _, broken := errors.AsType[*Error](err); broken || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// named adopts what a manifest names, as blobs or as manifests.
func (a *adoption) named(ctx context.Context, repo Name, digests []digest.Digest) error {
	if unadopted, err := a.index.Unadopted(ctx, string(repo)); err != nil || !unadopted {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookupsAtOnce)
	for _, d := range digests {
		g.Go(func() error {
			if err := a.blob(ctx, repo, d); err != nil {
				return err
			}
			return a.manifest(ctx, repo, d)
		})
	}
	return g.Wait()
}

// repository adopts a whole repository, for as long as a client waits. The error has the code UNAVAILABLE if it takes
// longer; it goes on then.
func (a *adoption) repository(ctx context.Context, repo Name) error {
	if a.over.Load() {
		return nil
	}
	if unadopted, err := a.index.Unadopted(ctx, string(repo)); err != nil || !unadopted {
		return err
	}
	run := a.start(repo)
	limit := time.NewTimer(adoptionWait)
	defer limit.Stop()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
	case <-a.background.Done():
	}
	return &Error{Code: Unavailable, Detail: map[string]string{"name": string(repo)},
		Message: fmt.Sprintf("repository %q is still being read from the store: try again", repo)}
}

// start returns the run that adopts a repository, which it starts if there is none.
func (a *adoption) start(repo Name) *adoptionRun {
	a.mu.Lock()
	defer a.mu.Unlock()
	if run := a.running[repo]; run != nil {
		return run
	}
	run := &adoptionRun{done: make(chan struct{})}
	a.running[repo] = run
	a.work.Go(func() {
		run.err = a.adoptRepository(a.background, repo)
		a.mu.Lock()
		delete(a.running, repo)
		a.mu.Unlock()
		close(run.done)
	})
	return run
}

// adoptRepository adopts a whole repository. One that neither store nor index has leaves no trace.
func (a *adoption) adoptRepository(ctx context.Context, repo Name) error {
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	some, err := a.reader(adopter{a}, func(string) {}).readRepository(ctx, repo)
	if some || err != nil {
		return err
	}
	if _, err := a.index.Tags(ctx, string(repo), "", 1); errors.Is(err, index.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	_, err = adopter{a}.Adopt(ctx, index.Batch{Repo: string(repo), Last: true})
	return err
}

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// An adoption takes over what a store shows that somebody else has written, or the same registry before its index was
// lost. It goes on in the background, in one process at a time and across restarts, while all of them serve:
//
//   - What is looked up and not in the index is looked for in the store, and adopted.
//   - What is added needs nothing else to be adopted, and the index is not changed where it says something already: a
//     tag that a client has moved stays there.
//   - Before something is taken away, and before a repository's lists are shown, the repository is adopted as a whole.
//     From then on the index is right about it, and nothing of it is adopted any more, which would bring back what is gone.
//
// The lists of all repositories, and what is looked for in any of them, show what was adopted so far.
type adoption struct {
	store drivers.Driver
	index *index.DB
	log   *slog.Logger
	id    string // of this process

	background context.Context // ends with the registry
	work       *sync.WaitGroup // which the registry waits for
	places     chan struct{}   // one for each of running that may read the store
	over       atomic.Bool     // whether all is adopted, of which there is no return

	mu      sync.Mutex            // guards what follows
	count   Adoption              // what this process knows
	running map[Name]*adoptionRun // repositories that somebody waits for
}

// An Adoption says how far a store is adopted.
type Adoption struct {
	UnderWay bool `json:"-"` // while it is, nothing must be collected
	Repositories,
	Layers,
	Manifests,
	Tags,
	Problems int // so far, in the process that reads the store
}

// adoptionRun adopts a repository.
type adoptionRun struct {
	done chan struct{} // closed when err is there
	err  error
}

const (
	// adoptionTTL is how long a process that was killed keeps others from going on.
	adoptionTTL = time.Minute
	// adoptionLines is the time between two lines in the log.
	adoptionLines = 10 * time.Second
	// namedProblems is how many of the broken things that a process finds are in the log one by one.
	namedProblems = 100
	// adoptionsAtOnce bounds the repositories that are read because clients wait.
	adoptionsAtOnce = 4
	// adoptionWait is how long a client waits for a repository to be adopted.
	adoptionWait = 10 * time.Second
)

// newAdoption finds out whether there is something to adopt. background ends with the registry, which waits for work.
func newAdoption(ctx, background context.Context, work *sync.WaitGroup, store drivers.Driver, db *index.DB, log *slog.Logger) (*adoption, error) {
	a := &adoption{store: store, index: db, log: log, id: uuid.NewString(), background: background, work: work,
		places: make(chan struct{}, adoptionsAtOnce), running: make(map[Name]*adoptionRun)}
	over, err := a.finished(ctx)
	if over || err != nil {
		return a, err
	}
	for _, err := range store.List(ctx, root+"repositories/", "") {
		return a, err // there is something, or nobody knows
	}
	a.over.Store(true)
	return a, db.FinishWalk(ctx, index.Adoption, "")
}

// finished reports whether all is adopted.
func (a *adoption) finished(ctx context.Context) (bool, error) {
	if a.over.Load() {
		return true, nil
	}
	w, err := a.index.Walk(ctx, index.Adoption)
	if err == nil && !w.UnderWay {
		a.over.Store(true)
	}
	return a.over.Load(), err
}

// Adoption says how far the store is adopted.
func (r *Registry) Adoption() Adoption {
	a := r.adoption
	a.mu.Lock()
	defer a.mu.Unlock()
	count := a.count
	count.UnderWay = !a.over.Load()
	return count
}

// An adopter takes over what a reader finds.
type adopter struct{ *adoption }

// Shown has the blobs made durable first: a blob may be an upload of this very moment.
func (a adopter) Shown(ctx context.Context, blobs []index.Blob) error {
	if err := drivers.Sync(ctx, a.store); err != nil {
		return err
	}
	return a.index.Shown(ctx, blobs)
}

func (a adopter) Size(ctx context.Context, d digest.Digest) (int64, error) {
	return a.index.Size(ctx, d)
}

// Adopt does nothing for a repository that was adopted meanwhile.
func (a adopter) Adopt(ctx context.Context, b index.Batch) ([]index.TagTarget, error) {
	dangling, err := a.index.Adopt(ctx, b)
	if errors.Is(err, index.ErrAdopted) {
		return nil, nil
	}
	return dangling, err
}

// reader returns a reader that adopts what it finds.
func (a *adoption) reader(takes facts, broken func(problem string)) *reader {
	return &reader{store: a.store, facts: takes, copies: true, broken: broken,
		known: func(ctx context.Context, repo Name, d digest.Digest) (bool, error) {
			_, err := a.index.ManifestByDigest(ctx, string(repo), d)
			if errors.Is(err, index.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		}}
}

// run adopts what is left, unless another process does.
func (a *adoption) run(ctx context.Context) error {
	if over, err := a.finished(ctx); over || err != nil {
		return err
	}
	w := &adoptionWalk{adopter: adopter{a}, ttl: adoptionTTL, line: time.Now()}
	if a.index.Exclusive() {
		w.ttl = 0 // there is nobody else, and a process that was killed is none
	}
	var ok bool
	var err error
	if w.Walk, ok, err = a.index.HoldWalk(ctx, index.Adoption, a.id, w.ttl); !ok || err != nil {
		return err
	}
	_ = json.Unmarshal([]byte(w.Counts), &w.before) // which is for the log alone
	err = w.walk(ctx)
	if errors.Is(err, index.ErrConflict) {
		return nil // another process goes on
	}
	if err != nil {
		err = errors.Join(err, a.index.LeaveWalk(context.WithoutCancel(ctx), index.Adoption, a.id))
	}
	return err
}

// An adoptionWalk reads the whole store.
type adoptionWalk struct {
	adopter
	index.Walk
	ttl    time.Duration
	kept   time.Time // when the others were told last that this process goes on
	line   time.Time // when there was a line in the log last
	before Adoption  // what was counted up to the start
	reader *reader
	found  int // problems
}

func (w *adoptionWalk) walk(ctx context.Context) error {
	if w.Reached == "" {
		w.log.Info("adopting what the store has")
	} else {
		w.log.Info("adopting what the store has", "after", w.Reached)
	}
	w.reader = w.adoption.reader(w, func(problem string) {
		if w.found++; w.found <= namedProblems {
			w.log.Warn("left out of the index", "problem", problem)
		}
	})
	w.reader.reached = func(ctx context.Context, key string) error {
		w.Reached = key
		w.Counts = w.counts().String()
		return w.keep(ctx)
	}
	if err := w.reader.read(ctx, w.Reached); err != nil {
		return err
	}
	c := w.counts()
	if err := w.index.FinishWalk(ctx, index.Adoption, c.String()); err != nil {
		return err
	}
	w.over.Store(true)
	w.log.Info("all that the store has is adopted", c.attributes()...)
	return nil
}

// Adopt keeps others from going on as well, however large a repository is.
func (w *adoptionWalk) Adopt(ctx context.Context, b index.Batch) ([]index.TagTarget, error) {
	if time.Since(w.kept) > adoptionTTL/4 {
		if err := w.keep(ctx); err != nil {
			return nil, err
		}
	}
	return w.adopter.Adopt(ctx, b)
}

// keep notes how far the walk has come.
func (w *adoptionWalk) keep(ctx context.Context) error {
	w.kept = time.Now()
	if time.Since(w.line) >= adoptionLines {
		w.line = time.Now()
		w.log.Info("adopting what the store has", w.counts().attributes()...)
	}
	return w.index.AdvanceWalk(ctx, index.Adoption, w.id, w.Walk, w.ttl)
}

// counts returns what was found so far, and shows it to those who ask.
func (w *adoptionWalk) counts() Adoption {
	found := w.reader.report
	c := Adoption{
		Repositories: w.before.Repositories + found.Repositories,
		Layers:       w.before.Layers + found.Layers,
		Manifests:    w.before.Manifests + found.Manifests,
		Tags:         w.before.Tags + found.Tags,
		Problems:     w.before.Problems + w.found,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count = c
	return c
}

// String is what the index keeps.
func (c Adoption) String() string {
	text, _ := json.Marshal(c) // numbers always encode
	return string(text)
}

func (c Adoption) attributes() []any {
	return []any{"repositories", c.Repositories, "layers", c.Layers, "manifests", c.Manifests, "tags", c.Tags, "problems", c.Problems}
}

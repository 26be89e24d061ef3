package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A Defect is a kind of disagreement between index and store.
type Defect string

// The defects, and what Repair does about them.
const (
	CorruptBlob    Defect = "corrupt blob"    // the bytes have another digest: see [Verifier]
	UnreadableBlob Defect = "unreadable blob" // the store has the bytes, but fails to read them: left as it is
	MissingBlob    Defect = "missing blob"    // the store lacks the bytes: likewise
	WrongSize      Defect = "wrong size"      // the index has another size than the bytes: corrected
	ExtraBlob      Defect = "extra blob"      // nothing is known of the bytes: left for collection
	MissingLink    Defect = "missing link"    // the store does not show a fact: written
	WrongLink      Defect = "wrong link"      // the store shows another fact: written
	ExtraLink      Defect = "extra link"      // the store shows what is no fact: left for the operator to judge
)

// A Finding is something that is not as it should be.
type Finding struct {
	Defect Defect `json:"defect"`
	Key    string `json:"key"`    // of the object in the store
	Detail string `json:"detail"` // may be empty
	Mended bool   `json:"mended"` // whether it is as it should be now, or will be after the next push
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s", f.Defect, f.Key)
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	if f.Mended {
		text += " (mended)"
	}
	return text
}

// Verified says what was looked at, since the verification began, be it in an earlier process.
type Verified struct {
	Blobs    int   `json:"blobs"` // in the store
	Bytes    int64 `json:"bytes"` // that were hashed
	Links    int   `json:"links"` // in the store
	Findings int   `json:"findings"`
	Mended   int   `json:"mended"` // of the findings
}

// A Verifier compares a store with its index: it hashes all blobs, and looks at all links and at all facts. It goes on
// where an earlier one was stopped.
//
// With Repair, a manifest whose bytes are bad gets those of the index. Another blob that is bad is taken from all
// repositories, and its bytes are moved to parfait/quarantine/: to HEAD and GET it is unknown then, and so it is to a push
// of another manifest that names it, until somebody pushes the blob again, as the next push of an image with it does.
// Manifests that name it stay, and are pulled up to that blob.
type Verifier struct {
	Store drivers.Driver
	Index *index.DB
	Rate  int64 // bytes a second, at most; 0 is no bound

	Repair  bool
	Restart bool // from the beginning
	Alone   bool // whether no server runs: then there are no uploads that the index does not know yet

	Found    func(Finding)  // is called with each finding
	Progress func(Verified) // is called now and then; may be nil
}

// ErrVerifying says that another process verifies the store.
var ErrVerifying = errors.New("another process verifies the store")

// ErrAdopting says that the index has not all of the store yet.
var ErrAdopting = errors.New("the index has not come to the end of the store yet: let the server run until its log says so, " +
	"or run parfait reindex")

// Run verifies the store to its end, or until ctx ends. Clean is a result without findings.
func (v Verifier) Run(ctx context.Context) (Verified, error) {
	adoption, err := v.Index.Walk(ctx, index.Adoption)
	if err != nil {
		return Verified{}, err
	}
	if adoption.UnderWay {
		return Verified{}, ErrAdopting
	}
	w := &verification{Verifier: v, id: uuid.NewString(), ttl: verificationTTL, outbox: newOutbox(v.Store, v.Index), pace: pace{rate: v.Rate}}
	if v.Index.Exclusive() {
		w.ttl = 0 // a process that was killed is in nobody's way
	}
	if v.Alone { // first the store gets what the index knows that it may lack
		if err := w.outbox.replay(ctx); err != nil {
			return Verified{}, err
		}
	}
	if err := w.begin(ctx); err != nil {
		return Verified{}, err
	}
	err = w.walk(ctx)
	if err == nil {
		return w.verified, v.Index.FinishWalk(ctx, index.Verification, w.counts())
	}
	if errors.Is(err, index.ErrConflict) {
		return w.verified, ErrVerifying
	}
	ctx = context.WithoutCancel(ctx)
	return w.verified, errors.Join(err, w.note(ctx), v.Index.LeaveWalk(ctx, index.Verification, w.id))
}

// verification is a Verifier that runs.
type verification struct {
	Verifier
	id       string
	ttl      time.Duration
	outbox   *outbox
	pace     pace
	walked   index.Walk
	verified Verified
	noted    time.Time // when walked was written to the index
}

const (
	verificationTTL = time.Minute
	// verificationNotes is the time between two notes of how far it is.
	verificationNotes = 5 * time.Second
	// uploadAge is how long ago bytes were written at least that the index should know of.
	uploadAge = 24 * time.Hour
)

// begin goes on with a verification that was stopped, or begins a new one.
func (w *verification) begin(ctx context.Context) error {
	err := w.Index.BeginWalk(ctx, index.Verification)
	if err != nil && !errors.Is(err, index.ErrConflict) { // which is one that was stopped
		return err
	}
	walked, ok, err := w.Index.HoldWalk(ctx, index.Verification, w.id, w.ttl)
	switch {
	case err != nil:
		return err
	case !ok:
		return ErrVerifying
	}
	if w.Restart {
		walked = index.Walk{}
	}
	_ = json.Unmarshal([]byte(walked.Counts), &w.verified) // empty at the beginning
	w.walked = walked
	return w.note(ctx)
}

// Keys of the store are the places where a walk may be. After them come the repositories of which the store has nothing.
const beyondStore = "~"

func (w *verification) walk(ctx context.Context) error {
	if w.walked.Reached < root+"repositories/" {
		if err := w.blobs(ctx); err != nil {
			return err
		}
	}
	if w.walked.Reached < beyondStore {
		if err := w.links(ctx); err != nil {
			return err
		}
	}
	after, _ := strings.CutPrefix(w.walked.Reached, beyondStore)
	return w.unshown(ctx, after)
}

// reach notes that all up to a place is done.
func (w *verification) reach(ctx context.Context, place string) error {
	w.walked.Reached, w.walked.Counts = place, w.counts()
	return w.tick(ctx)
}

// tick tells others from time to time that this goes on.
func (w *verification) tick(ctx context.Context) error {
	if w.Progress != nil {
		w.Progress(w.verified)
	}
	if time.Since(w.noted) < verificationNotes {
		return nil
	}
	return w.note(ctx)
}

func (w *verification) note(ctx context.Context) error {
	if err := w.outbox.flush(ctx); err != nil { // what was mended
		return err
	}
	w.noted = time.Now()
	return w.Index.AdvanceWalk(ctx, index.Verification, w.id, w.walked, w.ttl)
}

func (w *verification) counts() string {
	text, _ := json.Marshal(w.verified) // numbers always encode
	return string(text)
}

// found reports a finding, which mend mends if that is wanted. A nil mend is for what is not mended.
func (w *verification) found(f Finding, mend func() error) error {
	if w.Repair && mend != nil {
		if err := mend(); err != nil {
			return fmt.Errorf("mend %s: %w", f, err)
		}
		f.Mended = true
		w.verified.Mended++
	}
	w.verified.Findings++
	w.Found(f)
	return nil
}

// pace bounds a rate.
type pace struct {
	rate int64     // bytes a second; 0 is no bound
	free time.Time // when the next bytes are due
}

// wait waits until n more bytes are due.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(p.free))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// quarantineKey is where the bytes go that do not have the digest d.
func quarantineKey(d digest.Digest) string {
	return "parfait/quarantine/" + d.Algorithm().String() + "/" + d.Encoded()
}

package registry

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// An Action is what a client does.
type Action string

// The actions.
const (
	Push   Action = "push"
	Pull   Action = "pull"
	Mount  Action = "mount"
	Delete Action = "delete"
)

// An Act is something that a client has done, as others are told of it.
type Act struct {
	Action    Action
	At        time.Time
	By        Client
	Repo      Name
	Tag       string        // that a manifest was pushed or pulled by, or that was deleted
	Digest    digest.Digest // empty if only a tag was deleted
	MediaType string        // empty for what was deleted
	Size      int64         // bytes; 0 for what was deleted
	Payload   []byte        // of a manifest that was pushed or pulled; not to be changed
	From      Name          // where a blob was mounted from; empty if the client has not said
}

// BlobMediaType is that of all blobs in acts: only manifests know better.
const BlobMediaType = "application/octet-stream"

// A Client is who has done something, and how.
type Client struct {
	User      string // who has logged in; or empty
	Addr      string // where the request came from, perhaps with a port
	RequestID string
	Method    string
	Host      string // that the client asked for
	UserAgent string
	Root      string // URL by which the client reaches the registry, without a slash at the end
}

// A Witness is told what clients do.
type Witness interface {
	// Notices returns what is to be queued with an act, in the same transaction. It may be called more than once for one.
	Notices(Act) []Notice
	// Pulled is told of a pull.
	Pulled(Act)
}

// A Notice waits until somebody has been told of an act.
type Notice = index.Notice

// For returns the same registry as one client uses it: witness is told of all that changes by it.
func (r *Registry) For(by Client, witness Witness) *Registry {
	return &Registry{core: r.core, by: by, witness: witness}
}

// Pulled tells the witness of a manifest or a blob that the client has got. Only who sends it knows.
func (r *Registry) Pulled(act Act) {
	if r.witness == nil {
		return
	}
	act.Action, act.At, act.By = Pull, time.Now(), r.by
	if act.MediaType == "" {
		act.MediaType = BlobMediaType
	}
	r.witness.Pulled(act)
}

// telling returns the index for a change that is these acts. With a manifest that is deleted, its tags are.
func (r *Registry) telling(acts ...Act) *index.DB {
	if r.witness == nil {
		return r.index
	}
	return r.index.Telling(func(done index.Done) []Notice {
		all := acts
		for _, c := range done.Changes {
			if c.Kind == index.Tag && c.Digest == "" && c.Ref != acts[0].Tag {
				all = append(all[:len(all):len(all)], Act{Action: Delete, Repo: acts[0].Repo, Tag: c.Ref})
			}
		}
		var notices []Notice
		for _, act := range all {
			act.At, act.By = time.Now(), r.by
			if act.Action == Mount {
				act.Size = done.Blob.Size
			}
			notices = append(notices, r.witness.Notices(act)...)
		}
		return notices
	})
}

// pushes are the acts of a push: one for each tag, or one without.
func pushes(repo Name, m index.Manifest, tags []string) []Act {
	act := Act{Action: Push, Repo: repo, Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(m.Payload)), Payload: m.Payload}
	if len(tags) == 0 {
		return []Act{act}
	}
	var all []Act
	for _, tag := range tags {
		act.Tag = tag
		all = append(all, act)
	}
	return all
}

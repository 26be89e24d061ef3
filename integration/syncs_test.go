package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

const (
	syncCalls = "fsync,fdatasync,sync,syncfs,sync_file_range,mkdir,mkdirat,rename,renameat,renameat2,write,pwrite64"

	// maxSyncs is the budget for a small image: three layers, a config and a manifest.
	maxSyncs = 20
)

// TestSyncs watches the system calls of a server while small images are pushed. Nothing may be acknowledged before it
// is on disk, and not much more than that may be synced.
func TestSyncs(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	r := rand.New(rand.NewPCG(6, 6))
	young := watchPushes(t, store, r, []watchedPush{
		{name: "first image of a new store, POST+PUT", push: pushInOrder(postPut)},
		{name: "second image, POST+PUT", push: pushInOrder(postPut), most: maxSyncs},
		{name: "third image, POST+PATCH+PUT", push: pushInOrder(postPatchPut), most: maxSyncs},
		{name: "image of larger layers, POST+PUT", layer: 300 << 10, push: pushInOrder(postPut)},
		{name: "image of larger layers, POST+PATCH+PUT", layer: 300 << 10, push: pushInOrder(postPatchPut), most: maxSyncs},
	})
	young.ordered()
	makeUsed(t, store, r)
	used := watchPushes(t, store, r, []watchedPush{
		{name: "image in a store in use, after a start, POST+PUT", push: pushInOrder(postPut), most: maxSyncs},
		{name: "image in a store in use, POST+PUT", push: pushInOrder(postPut), most: maxSyncs},
		{name: "image in a store in use, POST+PATCH+PUT", push: pushInOrder(postPatchPut), most: maxSyncs},
		{name: "image in a store in use, POST?digest=", push: pushInOrder(postDigest), most: maxSyncs},
		{name: "image in a store in use, its blobs at the same time, POST+PATCH+PUT", push: pushAtOnce, most: maxSyncs},
	})
	used.ordered()

	told := watchPushes(t, store, r, []watchedPush{
		{name: "first image of which somebody is told, POST+PUT", push: pushInOrder(postPut), most: maxSyncs},
		{name: "image of which somebody is told, POST+PUT", push: pushInOrder(postPut), most: maxSyncs},
		{name: "image of which somebody is told, POST+PATCH+PUT", push: pushInOrder(postPatchPut), most: maxSyncs},
		{name: "another one", push: pushInOrder(postPatchPut), most: maxSyncs},
	}, newEventHook(t).options(t).Env...)
	told.ordered()

	crowd := watchPushes(t, filepath.Join(t.TempDir(), "store"), r, []watchedPush{{name: "many at once", push: pushCrowd}})
	crowd.ordered()
}

// A watchedPush is a push of an image.
type watchedPush struct {
	name  string
	layer int // bytes of each layer; 0 is 64 KiB
	push  func(c *rawClient, ctx context.Context, repo string, m rawManifest) error
	most  int // syncs; 0 is no bound

	image      rawManifest
	start, end time.Time
}

// A watch is what a server did for pushes.
type watch struct {
	t      *testing.T
	store  string
	pushes []watchedPush
	calls  []sysCall
}

// watchPushes pushes an image in each of the ways, one after the other, and counts the syncs.
func watchPushes(t *testing.T, store string, r *rand.Rand, pushes []watchedPush, env ...string) *watch {
	t.Helper()
	s := traceParfait(t, store, syncCalls, env...)
	c := newRawClient(s.URL)
	defer c.close()
	for i := range pushes {
		p := &pushes[i]
		size := cmp.Or(p.layer, 64<<10)
		p.image = newRawImage(r, newRawBlob(r, size), newRawBlob(r, size), newRawBlob(r, size))
		p.start = time.Now()
		if err := p.push(c, t.Context(), "syncs", p.image); err != nil {
			t.Fatal(err)
		}
		p.end = time.Now()
	}
	w := &watch{t, store, pushes, s.stop()}
	for _, p := range pushes {
		count := make(map[string]int)
		n := 0
		for _, call := range w.during(p) {
			if isSync(call) {
				n++
				count[syncKind(store, call.file())]++
			}
		}
		t.Logf("%s: %d syncs, of %v", p.name, n, count)
		if p.most > 0 && n > p.most {
			t.Errorf("%s: got %d syncs %v, want at most %d", p.name, n, count, p.most)
		}
	}
	return w
}

// pushInOrder pushes the blobs of an image one after the other, which leaves nothing to share.
func pushInOrder(shape rawShape) func(c *rawClient, ctx context.Context, repo string, m rawManifest) error {
	return func(c *rawClient, ctx context.Context, repo string, m rawManifest) error {
		for _, b := range m.blobs {
			if _, err := c.pushBlob(ctx, repo, shape, b); err != nil {
				return err
			}
		}
		return c.pushManifest(ctx, repo, "v1", m)
	}
}

// pushAtOnce pushes the blobs of an image at the same time.
func pushAtOnce(c *rawClient, ctx context.Context, repo string, m rawManifest) error {
	return c.pushImage(ctx, repo, "v1", postPatchPut, m)
}

// pushCrowd pushes the blobs of an image with those of many others, so that requests meet in new directories.
func pushCrowd(c *rawClient, ctx context.Context, repo string, m rawManifest) error {
	r := rand.New(rand.NewPCG(9, 9))
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		other := newRawImage(r, newRawBlob(r, 100), newRawBlob(r, 100), newRawBlob(r, 100))
		wg.Go(func() { errs[i] = c.pushImage(ctx, fmt.Sprint(repo, "/", i), "v1", rawShape(i%int(rawShapes)), other) })
	}
	err := c.pushImage(ctx, repo, "v1", postPut, m)
	wg.Wait()
	return errors.Join(append(errs, err)...)
}

func isSync(c sysCall) bool { return c.name == "fsync" || c.name == "fdatasync" }

// syncKind says what is synced.
func syncKind(store, file string) string {
	switch {
	case strings.HasPrefix(file, filepath.Join(store, "parfait")):
		return filepath.Base(file)
	case isJournal(file):
		return "journal"
	case strings.Contains(file, "/data") || strings.Contains(file, "/_uploads/"):
		return "blobs"
	default:
		return "directories"
	}
}

// during returns the calls that began in the time of a push. The client may know of an answer before strace does.
func (w *watch) during(p watchedPush) (calls []sysCall) {
	for _, c := range w.calls {
		if c.start.After(p.start) && c.start.Before(p.end) {
			calls = append(calls, c)
		}
	}
	return calls
}

// isJournal reports whether file is one in which small blobs are kept until their own files are synced.
func isJournal(file string) bool { return strings.HasPrefix(filepath.Base(file), "journal.") }

// ordered checks the order of things: a blob's bytes are synced, then get their name, then the directories are synced
// that know of it, then the index, then the client is told. A small blob may be in the journal: that is synced, then the
// blob gets its name, then the index is synced.
func (w *watch) ordered() {
	w.t.Helper()
	for _, p := range w.pushes {
		calls := w.during(p)
		for _, b := range p.image.blobs {
			if err := w.blobOrder(calls, digest.FromBytes(b)); err != nil {
				w.t.Errorf("%s: %v", p.name, err)
			}
		}
		if err := w.manifestOrder(calls, p.image); err != nil {
			w.t.Errorf("%s: %v", p.name, err)
		}
	}
}

func dataFile(store string, d digest.Digest) string {
	return filepath.Join(store, "docker/registry/v2/blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

func (w *watch) blobOrder(calls []sysCall, d digest.Digest) error {
	data := dataFile(w.store, d)
	renamed := slices.IndexFunc(calls, func(c sysCall) bool { return isRename(c) && c.paths()[1] == data })
	if renamed < 0 {
		return fmt.Errorf("%s got its name by no rename", data)
	}
	rename := calls[renamed]
	if journaled, ok := w.journaled(calls, data); ok {
		switch {
		case !syncedBetween(calls, journaled.end, rename.start, journaled.file()):
			return fmt.Errorf("%s: the journal is not synced before the rename", data)
		case !syncedBetween(calls, rename.end, answer(calls, d).start, w.indexFile()):
			return fmt.Errorf("%s: the index is not synced between the rename and the answer", data)
		}
		return nil
	}
	names := []string{rename.paths()[0]} // that the file had before
	for _, c := range calls[:renamed] {
		if isRename(c) && c.paths()[1] == names[0] {
			names = append(names, c.paths()[0])
		}
	}
	var written time.Time
	for _, c := range calls {
		if c.name == "write" && slices.Contains(names, c.file()) {
			written = c.end
		}
	}
	if written.IsZero() || !syncedBetween(calls, written, rename.start, names...) {
		return fmt.Errorf("%s: not synced between the last write and the rename", data)
	}
	ack, last := answer(calls, d), rename.end
	for entry, made := range w.entries(data, rename) {
		dir := filepath.Dir(entry)
		synced := next(w.calls, made.end, func(c sysCall) bool { return isSync(c) && c.file() == dir })
		if synced.end.IsZero() || synced.end.After(ack.start) {
			return fmt.Errorf("%s: %s is not synced before the answer", data, dir)
		}
		if synced.end.After(last) {
			last = synced.end
		}
	}
	if !syncedBetween(calls, last, ack.start, w.indexFile()) {
		return fmt.Errorf("%s: the index is not synced between the directories and the answer", data)
	}
	return nil
}

// journaled returns the call that wrote data's record to the journal.
func (w *watch) journaled(calls []sysCall, data string) (sysCall, bool) {
	key := strings.TrimPrefix(data, w.store+"/")
	c := next(calls, time.Time{}, func(c sysCall) bool {
		return c.name == "pwrite64" && isJournal(c.file()) && strings.Contains(c.args, key)
	})
	return c, !c.end.IsZero()
}

// entries returns the directory entries that have to be on disk for data to be found, with the calls that made them;
// those that were there before the watch began are left out.
func (w *watch) entries(data string, rename sysCall) map[string]sysCall {
	entries := map[string]sysCall{data: rename}
	for _, c := range w.calls {
		if strings.HasPrefix(c.name, "mkdir") && strings.HasPrefix(data, c.paths()[0]+"/") {
			entries[c.paths()[0]] = c
		}
	}
	return entries
}

// manifestOrder checks that the index is synced between the answers to the blobs and the one to the manifest.
func (w *watch) manifestOrder(calls []sysCall, m rawManifest) error {
	var last time.Time
	for _, b := range m.blobs {
		if ack := answer(calls, digest.FromBytes(b)); ack.end.After(last) {
			last = ack.end
		}
	}
	if !syncedBetween(calls, last, answer(calls, m.digest()).start, w.indexFile()) {
		return fmt.Errorf("the index is not synced before the answer to the manifest")
	}
	return nil
}

func (w *watch) indexFile() string { return filepath.Join(w.store, "parfait/index.db-wal") }

// isRename reports whether c gave one of its two paths the name of the other one.
func isRename(c sysCall) bool { return strings.HasPrefix(c.name, "rename") }

// answer returns the write that told a client that d is there; a zero one if nobody was told.
func answer(calls []sysCall, d digest.Digest) sysCall {
	return next(calls, time.Time{}, func(c sysCall) bool {
		return c.name == "write" && strings.Contains(c.args, `"HTTP/1.1 201 `) && strings.Contains(c.args, "Docker-Content-Digest: "+d.String())
	})
}

// next returns the first call that begins after a time and that is wanted; a zero one if there is none.
func next(calls []sysCall, after time.Time, wanted func(sysCall) bool) sysCall {
	for _, c := range calls {
		if !c.start.Before(after) && wanted(c) {
			return c
		}
	}
	return sysCall{}
}

func syncedBetween(calls []sysCall, start, end time.Time, names ...string) bool {
	c := next(calls, start, func(c sysCall) bool { return isSync(c) && slices.Contains(names, c.file()) })
	return !c.end.IsZero() && !c.end.After(end)
}

// makeUsed pushes blobs until there is one in each of the 256 directories that blobs are in.
func makeUsed(t *testing.T, store string, r *rand.Rand) {
	t.Helper()
	s := harness.StartParfait(t, quiet(store))
	c := newRawClient(s.URL)
	defer c.close()
	var wg sync.WaitGroup
	busy := make(chan struct{}, 8)
	for have := make(map[string]bool); len(have) < 256; {
		content := newRawBlob(r, 32)
		prefix := digest.FromBytes(content).Encoded()[:2]
		if have[prefix] {
			continue
		}
		have[prefix] = true
		busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-busy }()
			if _, err := c.pushBlob(t.Context(), "used", postDigest, content); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stopWell(t, s)
}

// TestSyncsOfOthers pushes a blob into directories that somebody else has made, and nobody has synced.
func TestSyncsOfOthers(t *testing.T) {
	content := newRawBlob(rand.New(rand.NewPCG(7, 7)), 300<<10)
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, store string)
		dirs    []string // that have to be synced before the answer
	}{
		{"of a server that was killed", func(t *testing.T, store string) {
			s := harness.StartParfait(t, quiet(store))
			c := newRawClient(s.URL)
			defer c.close()
			startTrickle(t, s, c, "others", content)
			s.Kill()
		}, []string{"", "docker/registry/v2/blobs", "docker/registry/v2/blobs/sha256"}},
		{"of the index", func(t *testing.T, store string) {
			s := harness.StartParfait(t, quiet(store))
			c := newRawClient(s.URL)
			defer c.close()
			if _, err := c.pushBlob(t.Context(), "others", postPut, content[1:]); err != nil {
				t.Fatal(err)
			}
			stopWell(t, s)
			dropIndex(t, store)
		}, []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := filepath.Join(t.TempDir(), "store")
			tt.prepare(t, store)
			s := traceParfait(t, store, syncCalls)
			c := newRawClient(s.URL)
			defer c.close()
			if _, err := c.pushBlob(t.Context(), "others", postPut, content); err != nil {
				t.Fatal(err)
			}
			calls := s.stop()
			ack := answer(calls, digest.FromBytes(content))
			for _, dir := range tt.dirs {
				dir := filepath.Join(store, dir)
				synced := next(calls, time.Time{}, func(c sysCall) bool {
					return c.name == "sync" || c.name == "syncfs" || isSync(c) && c.file() == dir
				})
				if synced.end.IsZero() || synced.end.After(ack.start) {
					t.Errorf("%s is not synced before the answer", dir)
				}
			}
		})
	}
}

// TestSendfile pulls a large blob, which has to go from the file to the client without a copy.
func TestSendfile(t *testing.T) {
	s := traceParfait(t, t.TempDir(), "sendfile,splice,copy_file_range")
	c := newRawClient(s.URL)
	defer c.close()
	content := newRawBlob(rand.New(rand.NewPCG(8, 8)), 8<<20)
	if _, err := c.pushBlob(t.Context(), "large", postPut, content); err != nil {
		t.Fatal(err)
	}
	path := "/v2/large/blobs/" + digest.FromBytes(content).String()
	var pulls []watchedPush
	for _, tt := range []struct {
		name, header string
		status       int
	}{
		{"whole", "", http.StatusOK},
		{"from the middle on", "bytes=4194304-", http.StatusPartialContent},
		{"a range", "bytes=1000000-4999999", http.StatusPartialContent},
	} {
		p := watchedPush{name: tt.name, start: time.Now()}
		if _, err := c.want(t.Context(), tt.status, "GET", path, nil, "Range", tt.header); err != nil {
			t.Error(err)
		}
		p.end = time.Now()
		pulls = append(pulls, p)
	}
	w := &watch{t, s.Storage, pulls, s.stop()}
	data := dataFile(s.Storage, digest.FromBytes(content))
	for i, p := range pulls {
		var sent int64
		for _, c := range w.during(p) {
			if c.name == "sendfile" && strings.Contains(c.args, "<"+data+">") {
				sent += c.result
			}
		}
		t.Logf("%s: %d bytes by sendfile", p.name, sent)
		if i == 0 && sent < int64(len(content))*9/10 {
			t.Errorf("%s: got %d bytes by sendfile, want most of %d", p.name, sent, len(content))
		}
	}
}

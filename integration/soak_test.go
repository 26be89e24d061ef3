package integration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

var soakTime = flag.Duration("soak.time", 0, "how long TestSoak lasts at least; every fault has its turn in any case")

// mostManifests is how many manifests a client keeps while all else is collected.
const mostManifests = 60

// TestSoak has clients at work on two servers that share a bucket and a database, while garbage is collected, the store
// fails in every way, and one of the servers is stopped or killed now and then. The other one goes on all the time: what
// it takes of memory and files stays within bounds. In the end the store is what it should be. For an hour of it:
//
//	go test ./integration -count 1 -v -timeout 90m -run '^TestSoak$' -soak.time 1h
func TestSoak(t *testing.T) {
	s3, database := harness.MinIO(t), harness.PostgreSQL(t, "fsync=off")
	proxy := harness.StartToxiproxy(t).Proxy(t, s3.Addr)
	index := database.NewDatabase(t)
	o := harness.Options{Env: []string{"LOGLEVEL=error", "STORAGE_BUFFERS=64MiB", "GC_GRACE=15s", "GC_INTERVAL=1s", "GC_SWEEP_INTERVAL=1m"}}
	s3Store(s3, "http://"+proxy.Addr)(t, &o)
	o.Env = append(o.Env, "INDEX_DATABASE="+index)
	steady, other := harness.StartParfait(t, o), harness.StartParfait(t, o)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	k := &soak{faulted: newFaulted(seed, steady, other), steady: steady}
	k.collects = true
	none := func() {}
	for start := time.Now(); k.turns == 0 || time.Since(start) < *soakTime; k.turns++ {
		k.phase(t, "no fault", none)
		for _, fault := range storeFaults {
			k.phase(t, fault.name, fault.set(proxy, s3))
		}
		k.phase(t, "a server is stopped", func() { other.Start() }, func() { other.Stop() })
		k.phase(t, "a server is killed", func() { other.Start() }, other.Kill)
		if t.Failed() {
			t.Fatalf("turn %d", k.turns)
		}
	}
	k.flat(t)
	// Others wait for minutes before they do what a killed server has left undone.
	database.Query(t, index, "update outbox set posted_at = 0")
	awaitSettled(t, database, index)
	for _, s := range k.servers {
		if status := s.Stop(); status != 0 {
			t.Errorf("stop: got exit status %d", status)
		}
	}
	if out, status := harness.RunParfait(t, o, "verify", "--rate", "0"); status != 0 {
		t.Errorf("verify: got exit status %d, want 0\n%.3000s", status, out)
	}
	checkIndexOf(t, o)
	wholeBlobs(t, s3, strings.TrimPrefix(o.Env[0], "AWS_BUCKET="))
}

// A soak is TestSoak.
type soak struct {
	*faulted
	steady        *harness.Server
	turns         int
	done, refused int64
	memory, files []int64 // of the steady server, after each turn's first phase
}

// phase has the clients work while something is the matter, which end ends, and then look. Meanwhile is done in the middle
// of their work.
func (k *soak) phase(t *testing.T, name string, end func(), meanwhile ...func()) {
	t.Helper()
	const long = 2 * time.Second
	var acts sync.WaitGroup
	for _, act := range meanwhile {
		acts.Go(func() {
			time.Sleep(long / 2)
			act()
		})
	}
	done, refused := k.work(t, long)
	acts.Wait()
	end()
	k.recover(t)
	k.images(t)
	k.done, k.refused = k.done+done, k.refused+refused
	for _, c := range k.clients {
		c.ledger.forgetAbsent()
	}
	if name == "no fault" {
		memory, files := resident(t, k.steady.PID), openFiles(t, k.steady.PID)
		k.memory, k.files = append(k.memory, memory), append(k.files, files)
		t.Logf("turn %d: %d done, %d refused; %d MiB, %d files", k.turns, k.done, k.refused, memory>>20, files)
	}
}

// images pulls all images that the clients know, whole.
func (k *soak) images(t *testing.T) {
	t.Helper()
	web := newRawClient(k.steady.URL)
	defer web.close()
	for _, c := range k.clients {
		for _, f := range c.ledger.facts {
			if d, ok := c.ledger.state(f); f.kind != "manifests" || !ok || d == "" {
				continue
			}
			if err := pullImage(t.Context(), web, f.repo, f.ref); err != nil {
				t.Errorf("image %s of %s: %v", f.ref, f.repo, err)
			}
		}
	}
}

// pullImage pulls an image and compares the digests.
func pullImage(ctx context.Context, web *rawClient, repo, ref string) error {
	a, err := web.want(ctx, http.StatusOK, "GET", "/v2/"+repo+"/manifests/"+ref, nil, acceptManifests...)
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := json.Unmarshal(a.body, &m); err != nil {
		return err
	}
	for _, desc := range append(m.Layers, m.Config) {
		a, err := web.want(ctx, http.StatusOK, "GET", "/v2/"+repo+"/blobs/"+desc.Digest.String(), nil)
		if err != nil {
			return err
		}
		if got := desc.Digest.Algorithm().FromBytes(a.body); got != desc.Digest {
			return fmt.Errorf("blob %s: got %s", desc.Digest, got)
		}
	}
	return nil
}

// flat fails the test if the steady server needs more and more. What it has after the first turns counts as its own.
func (k *soak) flat(t *testing.T) {
	t.Helper()
	if peak := peakMemory(t, k.steady.PID); peak > 384<<20 {
		t.Errorf("the steady server took %d MiB of memory, with 64 MiB of buffers", peak>>20)
	}
	settled := len(k.files) / 4
	for i := settled + 1; i < len(k.files); i++ {
		if k.files[i] > 2*k.files[settled]+50 || k.memory[i] > 2*k.memory[settled]+64<<20 {
			t.Errorf("turn %d: %d MiB and %d files, after %d MiB and %d files in turn %d", i, k.memory[i]>>20, k.files[i],
				k.memory[settled]>>20, k.files[settled], settled)
		}
	}
}

// collected reports whether a request may have failed because what it was about was collected.
func collected(err error) bool {
	e, ok := errors.AsType[*rawError](err)
	return ok && (e.status == http.StatusNotFound || e.status == http.StatusAccepted || strings.Contains(fmt.Sprint(e.codes()), "BLOB_UNKNOWN"))
}

// count returns how many facts of a kind there are for certain.
func (l *ledger) count(kind string) (n int) {
	for _, f := range l.facts {
		if d, ok := l.state(f); f.kind == kind && ok && d != "" {
			n++
		}
	}
	return n
}

// spareBlobs lets blobs be gone. Those that a manifest names are looked for by its name.
func (l *ledger) spareBlobs() {
	for f, states := range l.states {
		if f.kind == "blobs" {
			l.states[f] = append([]digest.Digest{""}, states...)
		}
	}
}

// forgetAbsent drops facts that are certain not to be.
func (l *ledger) forgetAbsent() {
	kept := l.facts[:0]
	for _, f := range l.facts {
		if d, ok := l.state(f); ok && d == "" {
			delete(l.states, f)
			continue
		}
		kept = append(kept, f)
	}
	l.facts = kept
}

// resident is what a process has in memory now, in bytes; 0 where there is no /proc.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// openFiles is how many files and connections a process has open; 0 where there is no /proc.
func openFiles(t *testing.T, pid int) int64 {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return int64(len(files))
}

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// storeFaults are what can happen between Parfait and its store. Each sets in, and is over when the function that it
// returns is called.
var storeFaults = []struct {
	name string
	set  func(p *harness.Proxy, s3 *harness.S3) (end func())
}{
	{"slow", func(p *harness.Proxy, _ *harness.S3) func() {
		return p.Latency(harness.Downstream, 300*time.Millisecond)
	}},
	{"narrow", func(p *harness.Proxy, _ *harness.S3) func() { return p.Bandwidth(harness.Upstream, 2_000_000) }},
	{"cut in the middle of a request", func(p *harness.Proxy, _ *harness.S3) func() { return p.LimitData(harness.Upstream, 300_000) }},
	{"cut in the middle of an answer", func(p *harness.Proxy, _ *harness.S3) func() { return p.LimitData(harness.Downstream, 100_000) }},
	{"resets", func(p *harness.Proxy, _ *harness.S3) func() {
		return p.ResetPeer(harness.Downstream, 50*time.Millisecond)
	}},
	{"away", func(p *harness.Proxy, _ *harness.S3) func() { p.Disable(); return p.Enable }},
	{"killed", func(_ *harness.Proxy, s3 *harness.S3) func() { s3.Kill(); return s3.Start }},
}

// TestStoreFaults has clients at work while the store fails in every way. A client may be told to come back, or be cut
// off; it may never get wrong bytes, or a yes that does not hold. When the fault is over all is well by itself.
func TestStoreFaults(t *testing.T) {
	s3 := harness.MinIO(t)
	proxy := harness.StartToxiproxy(t).Proxy(t, s3.Addr)
	o := harness.Options{Env: []string{"LOGLEVEL=error", "STORAGE_BUFFERS=64MiB"}}
	s3Store(s3, "http://"+proxy.Addr)(t, &o)
	s := harness.StartParfait(t, o)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := newFaulted(seed, s)
	for _, fault := range storeFaults {
		t.Run(fault.name, func(t *testing.T) {
			end := fault.set(proxy, s3)
			done, refused := f.work(t, 3*time.Second)
			t.Logf("%d things were done, %d refused", done, refused)
			if fault.name == "away" || fault.name == "killed" {
				newWire(t, s.URL).ask(503, "GET", "/readyz", nil)
				if refused == 0 {
					t.Error("nothing was refused")
				}
			}
			end()
			f.recover(t)
		})
	}
	if peak := peakMemory(t, s.PID); peak > 384<<20 {
		t.Errorf("the server took %d MiB of memory, with 64 MiB of buffers", peak>>20)
	}
	if status := s.Stop(); status != 0 {
		t.Errorf("stop: got exit status %d", status)
	}
	if out, status := harness.RunParfait(t, o, "reindex", "--check"); status != 0 {
		t.Errorf("reindex --check: got exit status %d, want 0\n%.3000s", status, out)
	}
	wholeBlobs(t, s3, strings.TrimPrefix(o.Env[0], "AWS_BUCKET="))
}

// peakMemory is the largest resident set of a process, in bytes; 0 where there is no /proc.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// A faulted registry has clients who know what was acknowledged to them. They share its servers among themselves.
type faulted struct {
	servers  []*harness.Server
	clients  []*killClient
	big      []byte // a blob of several parts
	collects bool   // whether what no manifest names is soon collected, and clients keep few manifests
}

func newFaulted(seed uint64, servers ...*harness.Server) *faulted {
	r := rand.New(rand.NewPCG(seed, 0))
	f := &faulted{servers: servers, big: newRawBlob(r, 20<<20)}
	for i := range 4 {
		f.clients = append(f.clients, &killClient{
			ledger: newLedger(), rand: rand.New(rand.NewPCG(seed, uint64(i+1))), shared: [][]byte{newRawBlob(r, 30<<10)},
			repos: []string{fmt.Sprintf("faults/%d", i), fmt.Sprintf("faults/%d/copy", i)}, alone: make(map[string]bool),
		})
	}
	return f
}

// work has the clients work for a while, and one of them push what is large.
func (f *faulted) work(t *testing.T, d time.Duration) (done, refused int64) {
	var yes, no atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range f.clients {
		wg.Go(func() {
			web := newRawClient(f.servers[i%len(f.servers)].URL)
			defer web.close()
			for ctx.Err() == nil {
				err := c.work(t.Context(), web)
				if err == nil && i == 0 {
					err = c.pushBlob(t.Context(), web, c.repos[0], append(newRawBlob(c.rand, 8), f.big...))
				}
				if err == nil && f.collects && c.ledger.count("manifests") > mostManifests {
					err = c.delete(t.Context(), web, func(f fact) bool { return f.kind == "manifests" })
				}
				if !passing(err) && !(f.collects && collected(err)) {
					t.Errorf("client %d: %v", i, err)
					return
				}
				c.cut = nil // what became of it, the ledger finds out
				if err == nil {
					yes.Add(1)
					continue
				}
				no.Add(1)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return yes.Load(), no.Load()
}

// passing reports whether an error tells the client to come back, or is none.
func passing(err error) bool {
	if e, ok := errors.AsType[*rawError](err); ok {
		return e.status == http.StatusServiceUnavailable && e.header.Get("Retry-After") != ""
	}
	return true // a connection that was cut, which is all that is left
}

// recover waits until the servers are ready, and compares all that the clients know.
func (f *faulted) recover(t *testing.T) {
	for _, s := range f.servers {
		awaitReady(t, s)
	}
	web := newRawClient(f.servers[0].URL)
	defer web.close()
	for i, c := range f.clients {
		if f.collects {
			c.ledger.spareBlobs()
		}
		for _, err := range c.ledger.look(t.Context(), web, c.ledger.facts) {
			t.Errorf("client %d: %v", i, err)
		}
		if err := c.pushImage(t.Context(), web, c.repos[0]); err != nil {
			t.Errorf("client %d, when the fault is over: %v", i, err)
		}
	}
}

func awaitReady(t *testing.T, s *harness.Server) {
	t.Helper()
	web := newRawClient(s.URL)
	defer web.close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if a, err := web.do(t.Context(), "GET", "/readyz", nil); err == nil && a.status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a server is not ready 30 s after the fault is over")
		}
	}
}

// wholeBlobs has an independent client read all blobs of a bucket: each is what its name says.
func wholeBlobs(t *testing.T, s3 *harness.S3, bucket string) {
	t.Helper()
	eye, blobs := s3.Eye(t), 0
	for o := range eye.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true, Prefix: "registry/docker/registry/v2/blobs/"}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		r, err := eye.GetObject(t.Context(), bucket, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest.SHA256.FromReader(r)
		r.Close()
		if want := path.Base(path.Dir(o.Key)); err != nil || d.Encoded() != want {
			t.Errorf("%s: got the digest %s, %v", o.Key, d, err)
		}
		blobs++
	}
	if blobs == 0 {
		t.Error("there is no blob in the bucket")
	}
}

// TestCutPull breaks the store in the middle of a large pull, for longer than the registry tries: the client has to see
// a cut connection, not a short blob that looks whole.
func TestCutPull(t *testing.T) {
	s3 := harness.MinIO(t)
	proxy := harness.StartToxiproxy(t).Proxy(t, s3.Addr)
	w := newWire(t, s3Store(s3, "http://"+proxy.Addr).start(t, harness.Options{Env: []string{"LOGLEVEL=error"}}).URL)
	content := randomBytes(t, 64<<20)
	target := w.url + "/v2/cut/app/blobs/" + w.push("cut/app", octets, content).Digest.String()
	resp, err := http.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(resp.Body, first); err != nil || !bytes.Equal(first, content[:1<<20]) {
		t.Fatalf("the first bytes: %v", err)
	}
	proxy.Disable()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil {
		t.Errorf("the body ended without an error after %d bytes more, of %d", n, len(content)-1<<20)
	}
	proxy.Enable()
	if a := w.ask(200, "GET", target, nil); !bytes.Equal(a.body, content) {
		t.Errorf("got %d other bytes when the store was back", len(a.body))
	}
}

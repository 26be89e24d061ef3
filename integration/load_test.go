package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestLoad runs every scenario of the load program for a moment, on a registry that is not ours as well, so that what it
// accepts is not what we happen to answer.
func TestLoad(t *testing.T) {
	ours := harness.StartParfait(t, harness.Options{})
	theirs := harness.StartDistribution(t, "")
	var out, progress bytes.Buffer
	args := []string{"-scenario", "every", "-clients", "5", "-rounds", "2", "-time", "50ms", "-blob", "1MiB", "-tags", "40", "-repositories", "20", "-pages", "5",
		"-base", "parfait", fmt.Sprintf("-pid=parfait=%d", ours.PID), "distribution=" + theirs.URL, "parfait=" + ours.URL, "empty"}
	for _, zot := range startZot(t, nil) {
		args = append(args, "zot="+zot.URL)
	}
	cmd := exec.CommandContext(t.Context(), buildLoad(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil || strings.Contains(progress.String(), "failed") {
		t.Fatalf("load: %v\n%s", err, progress.String())
	}
	for _, want := range []string{
		"| speed | parfait | distribution | empty |",
		"| × as fast as distribution | × as fast as empty |",
		"| GET manifest by tag, 32 clients |",
		"| the same: 99 % of the GETs take at most |",
		"| peak memory |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestPeers measures Parfait and its peers side by side, on each store, and prints the tables: distribution, and in a
// folder zot, if that is installed. The subtest collection has those collect all the time that can. It takes minutes, so
// it runs only when PARFAIT_BENCH_PEERS has the flags of the load program: `make bench-peers`.
func TestPeers(t *testing.T) {
	flags, ok := os.LookupEnv("PARFAIT_BENCH_PEERS")
	if !ok {
		t.Skip("a benchmark: run it with make bench-peers")
	}
	quietly := harness.Options{Env: []string{"LOGLEVEL=error"}}
	t.Run("local", func(t *testing.T) {
		disk, o := apart(t), quietly
		o.Storage = filepath.Join(disk, "parfait")
		t.Log(directWrite(t, disk))
		peers := []peer{{"parfait", harness.StartParfait(t, o)}, {"distribution", harness.StartDistribution(t, filepath.Join(disk, "distribution"))}}
		zot := startZot(t, map[string]string{"rootDirectory": filepath.Join(disk, "zot")})
		measurePeers(t, flags, append(peers, zot...)...)
	})
	t.Run("collection", func(t *testing.T) {
		// Distribution cannot collect while it serves: it keeps what it is told to delete.
		ours := harness.StartParfait(t, harness.Options{Env: []string{"LOGLEVEL=error", "GC_GRACE=5s", "GC_INTERVAL=1s"}})
		peers := []peer{{"parfait", ours}, {"distribution", harness.StartDistribution(t, "")}}
		peers = append(peers, startZot(t, map[string]string{"gcDelay": "5s", "gcInterval": "1s"})...)
		measurePeers(t, "-time 20s "+flags+" -scenario collect,collect-p99", peers...)
		t.Log(blobsCollected(t, ours))
	})
	t.Run("minio", func(t *testing.T) {
		s3 := harness.MinIO(t)
		t.Log(directUpload(t, s3))
		measurePeers(t, flags, peersOnS3(t, s3, s3.URL, quietly)...)
	})
	t.Run("minio, 15 ms away", func(t *testing.T) {
		s3 := harness.MinIO(t)
		away := harness.StartToxiproxy(t).Proxy(t, s3.Addr)
		away.Latency(harness.Upstream, 15*time.Millisecond)
		measurePeers(t, flags, peersOnS3(t, s3, "http://"+away.Addr, quietly)...)
	})
}

// apart returns a new folder whose folders ext4 keeps far from each other. Without a journal it looks at every inode
// that was freed in the last minutes before it gives one out beside them, so that each server would pay, in its own CPU
// time, for what the others have removed.
func apart(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "chattr", "+T", folder).CombinedOutput(); err != nil {
		t.Logf("the servers' folders may be near each other: chattr: %v: %s", err, bytes.TrimSpace(out))
	}
	return folder
}

// A peer is a registry to measure, by the name that it has in the tables.
type peer struct {
	name string
	*harness.Server
}

// peersOnS3 has Parfait once more, without a check sum of its own for what it sends to the store.
func peersOnS3(t *testing.T, s3 *harness.S3, endpoint string, o harness.Options) []peer {
	t.Helper()
	unsigned := o
	unsigned.Env = append(slices.Clip(o.Env), "S3_SIGN_PAYLOAD=false") // as it is by default where there is TLS
	return []peer{
		{"parfait", s3Store(s3, endpoint).start(t, o)},
		{"unsigned", s3Store(s3, endpoint).start(t, unsigned)},
		{"distribution", harness.StartDistributionOnS3(t, s3, endpoint, s3.NewBucket(t))},
	}
}

// startZot is zot with that of its configuration, and none where it is not installed.
func startZot(t *testing.T, storage map[string]string) []peer {
	t.Helper()
	path, err := exec.LookPath("zot")
	if err != nil {
		t.Logf("without zot: %v", err)
		return nil
	}
	version, _ := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
	t.Logf("%s: %s", path, bytes.TrimSpace(version))
	return []peer{{"zot", harness.StartZot(t, path, storage)}}
}

// blobsCollected says what Parfait has collected. It fails the test if that is nothing.
func blobsCollected(t *testing.T, s *harness.Server) string {
	t.Helper()
	status, metrics := visit(t, s.URL+"/metrics")
	_, count, _ := strings.Cut(metrics, "\nparfait_collection_blobs_total ")
	count, _, _ = strings.Cut(count, "\n")
	if status != http.StatusOK || count == "" || count == "0" {
		t.Fatalf("got %d, and %q blobs collected", status, count)
	}
	return "parfait has collected " + count + " blobs meanwhile"
}

// measurePeers runs the load program on all of them, and on the empty handler. The first is compared to the others.
func measurePeers(t *testing.T, flags string, peers ...peer) {
	t.Helper()
	args := strings.Fields(flags)
	for _, p := range peers {
		args = append(args, fmt.Sprintf("-pid=%s=%d", p.name, p.PID))
	}
	for _, p := range peers {
		args = append(args, p.name+"="+p.URL)
	}
	cmd := exec.CommandContext(t.Context(), buildLoad(t), append(args, "empty")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("load: %v", err)
	}
}

// directWrite says how fast dd stores 512 MiB in a folder, so that they are on the disk: the yardstick of a push.
func directWrite(t *testing.T, folder string) string {
	t.Helper()
	const size = 512 << 20
	program := harness.Command(t, "dd")
	dd := func(from, to string) (rate float64) { // MB/s
		start := time.Now()
		cmd := exec.CommandContext(t.Context(), program, "if="+from, "of="+to, "bs=1M", fmt.Sprint("count=", size>>20), "conv=fsync")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("dd: %v\n%s", err, out)
		}
		return size / 1e6 / time.Since(start).Seconds()
	}
	source, file := filepath.Join(t.TempDir(), "random"), filepath.Join(folder, "dd")
	dd("/dev/urandom", source) // some disks write zeros faster than they can
	var written []float64
	for range 3 {
		written = append(written, dd(source, file))
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(written)
	return fmt.Sprintf("dd conv=fsync of 512 MiB: %.0f MB/s (%.0f to %.0f)", written[1], written[0], written[2])
}

// directUpload says how fast an SDK stores 512 MiB in a bucket, four parts of 8 MiB at a time: the yardstick of a push
// whose digest is known. Where it comes last, the bytes have to be copied on the server to their place: for that the
// yardstick is to have them copied, too, in eight parts at a time.
func directUpload(t *testing.T, s3 *harness.S3) string {
	t.Helper()
	const size = 512 << 20
	data := randomBytes(t, size)
	bucket := s3.NewBucket(t)
	var stored, copied []float64 // MB/s
	for i := range 3 {
		start := time.Now()
		_, err := s3.Eye(t).PutObject(t.Context(), bucket, fmt.Sprint(i), bytes.NewReader(data), size,
			minio.PutObjectOptions{PartSize: 8 << 20, NumThreads: 4, ConcurrentStreamParts: true})
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, size/1e6/time.Since(start).Seconds())
		directCopy(t, s3, bucket, fmt.Sprint(i), size)
		copied = append(copied, size/1e6/time.Since(start).Seconds())
	}
	slices.Sort(stored)
	slices.Sort(copied)
	return fmt.Sprintf("direct upload of 512 MiB in parts, 4 at once: %.0f MB/s (%.0f to %.0f); with a copy on the server: %.0f MB/s (%.0f to %.0f)",
		stored[1], stored[0], stored[2], copied[1], copied[0], copied[2])
}

// directCopy copies an object in a bucket, in eight parts.
func directCopy(t *testing.T, s3 *harness.S3, bucket, key string, size int64) {
	t.Helper()
	core, to := minio.Core{Client: s3.Eye(t)}, key+"-copy"
	id, err := core.NewMultipartUpload(t.Context(), bucket, to, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]minio.CompletePart, 8)
	each := size / int64(len(parts))
	g, ctx := errgroup.WithContext(t.Context())
	for i := range parts {
		g.Go(func() (err error) {
			parts[i], err = core.CopyObjectPart(ctx, bucket, key, bucket, to, id, i+1, int64(i)*each, each, nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := core.CompleteMultipartUpload(t.Context(), bucket, to, id, parts, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

func buildLoad(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "load")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "./load")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build load: %v\n%s", err, out)
	}
	return path
}

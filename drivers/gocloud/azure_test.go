package gocloud_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/gocloud"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestAzure has one server for all.
func TestAzure(t *testing.T) {
	s := harness.Azurite(t)
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s *harness.Azure)
	}{
		{"requests", testRequests},
		{"writers of one key", testWritersOfOneKey},
		{"composers of one key", testComposersOfOneKey},
		{"compose a large object", testComposeLarge},
		{"create a large object once", testCreateNewLarge},
		{"names", testNames},
		{"token", testSAS},
		{"container made", testMakesContainer},
		{"container gone", testContainerGone},
		{"URL", testURL},
		{"refused uploads", testRefusedUploads},
		{"half reads", testHalfReads},
		{"bursts", testBursts},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, s) })
	}
}

// Many push one large layer at a time: all commit. Who has other bytes is told to come back.
func testWritersOfOneKey(t *testing.T, s *harness.Azure) {
	d := openAzure(t, config(t, s))
	data, other := random(1, 20*mib), random(2, 20*mib)
	var g errgroup.Group
	for range 5 {
		g.Go(func() error { return put(t.Context(), d, "a", data) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "a", data)

	begun, err := d.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer begun.Close()
	if _, err := begun.Write(other); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // for its blocks to be there
	if err := put(t.Context(), d, "a", data); err != nil {
		t.Fatal(err)
	}
	if err := begun.Commit(); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("got error %v of a writer whose blocks are gone, want %v", err, drivers.ErrUnavailable)
	}
	wantBytes(t, d, "a", data)
	if err := put(t.Context(), d, "a", other); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "a", other)
}

// Sources that are composed to one key at a time, from several sides.
func testComposersOfOneKey(t *testing.T, s *harness.Azure) {
	d := openAzure(t, config(t, s))
	data := random(1, 9*mib)
	var g errgroup.Group
	for _, side := range []string{"1", "2", "3"} {
		g.Go(func() error {
			if err := put(t.Context(), d, "uploads/"+side+"/a", data[:5*mib]); err != nil {
				return err
			}
			if err := put(t.Context(), d, "uploads/"+side+"/b", data[5*mib:]); err != nil {
				return err
			}
			return d.Compose(t.Context(), "dst", "uploads/"+side+"/a", "uploads/"+side+"/b")
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "dst", data)
}

func testComposeLarge(t *testing.T, s *harness.Azure) {
	d := openAzure(t, config(t, s))
	data := random(1, 66*mib) // two pieces
	if err := put(t.Context(), d, "src", data); err != nil {
		t.Fatal(err)
	}
	if err := d.Compose(t.Context(), "dst", "src"); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "dst", data)
}

func testCreateNewLarge(t *testing.T, s *harness.Azure) {
	d := openAzure(t, config(t, s))
	createNew := func(data []byte) error {
		w, err := d.CreateNew(t.Context(), "a")
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.Commit()
	}
	first := random(1, 9*mib)
	if err := createNew(first); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{10, 17 * mib} {
		if err := createNew(random(2, size)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%d bytes: got error %v, want %v", size, err, fs.ErrExist)
		}
	}
	wantBytes(t, d, "a", first)
}

// gocloud has other names for some keys, and what is written without it has to agree.
func testNames(t *testing.T, s *harness.Azure) {
	d := openAzure(t, config(t, s))
	large := random(1, 9*mib)
	odd := []string{"a__0x2f__b", "a__0x5f___", "tags/v1../current/link", "x.../y"}
	for _, key := range odd {
		if err := put(t.Context(), d, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, d, key, []byte(key))
		for _, srcs := range [][]string{{key}, {key, key}} {
			if err := d.Compose(t.Context(), "dst/"+key, srcs...); err != nil {
				t.Fatal(err)
			}
			wantBytes(t, d, "dst/"+key, bytes.Repeat([]byte(key), len(srcs)))
		}
		if err := d.Delete(t.Context(), "dst/"+key); err != nil {
			t.Fatal(err)
		}
	}
	wantKeys(t, d, odd...)
	for _, key := range odd {
		if err := put(t.Context(), d, key, large); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, d, key, large)
	}
	wantKeys(t, d, odd...)
}

// token is a signature for a container. (Azurite does not know that one for the account is good for StageBlockFromURL.)
func token(t *testing.T, s *harness.Azure, name string, may sas.ContainerPermissions) string {
	t.Helper()
	key, err := container.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sas.BlobSignatureValues{
		ContainerName: name,
		ExpiryTime:    time.Now().Add(time.Hour).UTC(),
		Permissions:   may.String(),
	}.SignWithSharedKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return q.Encode()
}

func testSAS(t *testing.T, s *harness.Azure) {
	cfg := config(t, s)
	cfg.Key, cfg.SAS = "", "?"+token(t, s, cfg.Container, sas.ContainerPermissions{Read: true, Write: true, List: true, Delete: true})
	d := openAzure(t, cfg)
	if _, ok := drivers.As[drivers.URLSigner](d); ok {
		t.Error("a token cannot sign, but the driver is a URLSigner")
	}
	data := random(1, 9*mib)
	if err := put(t.Context(), d, "a", data); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), d, "b", []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := d.Compose(t.Context(), "c", "a", "b"); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "c", append(data, 'b'))
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, d, "b", "c")
}

// The container is made if it is not there, for nobody but us.
func testMakesContainer(t *testing.T, s *harness.Azure) {
	cfg := config(t, s)
	cfg.Container = "new-one"
	d := openAzure(t, cfg)
	if err := put(t.Context(), d, "a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, d, "a")
	resp, err := http.Get(s.URL + "/" + s.Account + "/new-one/a")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Error("anybody can read the object")
	}
}

// A URL of Azure's gives the same driver.
func testURL(t *testing.T, s *harness.Azure) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", s.Account)
	t.Setenv("AZURE_STORAGE_KEY", s.Key)
	d := openURL(t, gocloud.URLConfig{URL: "azblob://" + s.NewContainer(t) + "?protocol=http&domain=" + s.Addr, Path: "x"})
	data := random(1, 9*mib)
	if err := put(t.Context(), d, "a", data); err != nil {
		t.Fatal(err)
	}
	if err := d.Compose(t.Context(), "b", "a", "a"); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "b", append(data, data...))
	signer, ok := drivers.As[drivers.URLSigner](d)
	if !ok {
		t.Fatal("the driver is no URLSigner")
	}
	u, err := signer.SignURL(t.Context(), http.MethodHead, "b", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Head(u)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength != 18*mib {
		t.Errorf("got %s with %d bytes", resp.Status, resp.ContentLength)
	}
}

// A stream waits for room before it takes more than a little, and small objects never do.
func TestStreamsWait(t *testing.T) {
	d := openURL(t, gocloud.URLConfig{URL: "mem://", PartSize: 5 * mib, Buffers: 25 * mib}) // room for one
	first, err := d.Create(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Write(random(1, mib)); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), d, "small", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := put(ctx, d, "second", random(2, mib)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v of a second stream, want %v", err, context.DeadlineExceeded)
	}
	first.Close()
	if err := put(t.Context(), d, "third", random(3, 11*mib)); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, d, "small", "third")
}

// A writer that is closed, or whose context ends, in the middle of a stream leaves nothing.
func TestStreamsDropped(t *testing.T) {
	d := openURL(t, gocloud.URLConfig{URL: "mem://"})
	for _, size := range []int{100, mib, 20 * mib} {
		ctx, cancel := context.WithCancel(t.Context())
		for _, end := range []func(){cancel, func() {}} {
			w, err := d.Create(ctx, "a")
			if err != nil {
				break // of the second round: the context has ended
			}
			if _, err := w.Write(random(1, size)); err != nil {
				t.Fatal(err)
			}
			end()
			w.Close()
			wantKeys(t, d)
		}
		cancel()
	}
}

package integration

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// An operation is what a client does, with the most that it may cost in all of its requests together.
type operation struct {
	name  string
	store int64 // calls of the driver
	index int   // statements and transactions
	do    func(h *costHouse, r costRepo) error
}

// operations is the table of budgets of the design, and some that follow from it.
var operations = []operation{
	{"GET manifest by tag", 0, 1, request(200, "GET", "manifests/v1")},
	{"HEAD manifest by tag", 0, 1, request(200, "HEAD", "manifests/v1")},
	{"GET manifest by digest", 0, 1, request(200, "GET", "manifests/{manifest}")},
	{"HEAD manifest by digest", 0, 1, request(200, "HEAD", "manifests/{manifest}")},
	{"GET manifest that is not there", 0, 1, request(404, "GET", "manifests/absent")},
	{"HEAD blob", 0, 1, request(200, "HEAD", "blobs/{layer}")},
	{"HEAD blob that is not there", 0, 1, request(404, "HEAD", "blobs/{absent}")},
	{"GET blob", 1, 1, request(200, "GET", "blobs/{layer}")},
	{"GET blob, a range", 1, 1, request(206, "GET", "blobs/{layer}", "Range", "bytes=10-19")},
	{"GET blob that is known", 0, 1, request(304, "GET", "blobs/{layer}", "If-None-Match", "*")},
	{"GET blob, redirected", 0, 1, request(307, "GET", "blobs/{layer}")},
	{"page of tags", 0, 1, request(200, "GET", "tags/list?n=1")},
	{"page of the catalog", 0, 1, request(200, "GET", "/v2/_catalog?n=1")},
	{"page of referrers", 0, 1, request(200, "GET", "referrers/{manifest}")},
	{"page of search", 0, 1, request(200, "GET", "/v1/search?q=cost")},

	{"push of a blob, POST+PUT", 2, 3, pushNew(postPut, 1000)},
	{"push of a blob, POST?digest=", 2, 2, pushNew(postDigest, 1000)},
	{"push of a blob, POST+PATCH+PUT", 2, 5, pushNew(postPatchPut, 1000)},
	{"push of a larger blob, POST+PATCH+PUT", 4, 5, pushNew(postPatchPut, 1<<20)},
	{"push of a blob that is elsewhere, POST+PUT", 1, 3, pushKnown(postPut)},
	{"push of a blob that is elsewhere, POST+PATCH+PUT", 1, 5, pushKnown(postPatchPut)},
	{"push of a blob that is there, POST+PUT", 0, 3, pushAgain},
	{"begin of an upload, and its status", 0, 2, uploadStatus},
	{"mount", 1, 1, mountFrom("&from=cost/source")},
	{"mount from anywhere", 1, 1, mountFrom("")},
	{"push of a manifest by tag", 4, 1, pushManifestTo("new")},
	{"push of a manifest by digest", 2, 1, pushManifestTo("")},
	{"push of a manifest that is there, to a new tag", 2, 1, tagAgain},
	{"delete of a blob", 1, 1, request(202, "DELETE", "blobs/{alone}")},
	{"delete of a tag", 3, 1, request(202, "DELETE", "manifests/v1")},
	{"delete of a manifest with its tag", 4, 1, request(202, "DELETE", "manifests/{manifest}")},
}

// TestCosts does each operation once, in a repository that has not been asked for anything yet.
func TestCosts(t *testing.T) {
	folder, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]drivers.Driver{"local": folder, "mem": mem.New()} {
		t.Run(name, func(t *testing.T) {
			direct, redirecting := openCostHouse(t, d, false, nil), openCostHouse(t, signing{mem.New()}, true, nil)
			for _, op := range operations {
				h := direct
				if strings.Contains(op.name, "redirected") {
					h = redirecting
				}
				r := h.fill()
				h.reset()
				if err := op.do(h, r); err != nil {
					t.Errorf("%s: %v", op.name, err)
				}
				store, calls := h.spent()
				if store.total > op.store || len(calls) > op.index {
					t.Errorf("%s: got %d store calls %v and %d index calls %q, want at most %d and %d",
						op.name, store.total, store.by, len(calls), calls, op.store, op.index)
				}
				t.Logf("%-50s %d/%d store calls %v, %d/%d index calls %q", op.name, store.total, op.store, store.by, len(calls), op.index, calls)
			}
		})
	}
}

// TestCostsOfEvents does each operation with somebody who wants to be told of everything, and with nobody. It costs the
// same: what is told goes with the transaction that there is anyway, and pulls wait in memory.
func TestCostsOfEvents(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	told := &events.Config{Endpoints: []events.Endpoint{{Name: "away", URL: away.URL}}}
	with, without := openCostHouse(t, mem.New(), false, told), openCostHouse(t, mem.New(), false, nil)
	for _, op := range operations {
		if strings.Contains(op.name, "redirected") {
			continue
		}
		var spent [2]string
		for i, h := range []*costHouse{without, with} {
			r := h.fill()
			h.reset()
			if err := op.do(h, r); err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
			store, calls := h.spent()
			spent[i] = fmt.Sprintf("%v %q", store.by, calls)
		}
		if spent[0] != spent[1] {
			t.Errorf("%s:\nwithout events %s\nwith them     %s", op.name, spent[0], spent[1])
		}
	}
	err := eventually(10*time.Second, func() error {
		queued, err := with.db.Notices(t.Context(), "away", "cost/1", 100)
		if err == nil && !slices.ContainsFunc(queued, func(n index.Notice) bool { return strings.Contains(string(n.Event), `"action":"pull"`) }) {
			err = fmt.Errorf("%d events wait, and none is of a pull", len(queued))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A costHouse is a registry that counts.
type costHouse struct {
	t     *testing.T
	web   *rawClient
	rand  *rand.Rand
	db    *index.DB
	store *metered.Driver
	since metered.Counts
	repos int

	mu    sync.Mutex
	calls []string // mu guards calls: of the index, since the last reset
}

// A costRepo is a repository with an image, by the tag v1, and a blob that is part of none.
type costRepo struct {
	name  string
	image rawManifest
	alone []byte
}

func openCostHouse(t *testing.T, d drivers.Driver, redirect bool, told *events.Config) *costHouse {
	t.Helper()
	h := &costHouse{t: t, rand: rand.New(rand.NewPCG(5, 5)), store: metered.New(d)}
	log := slog.New(slog.DiscardHandler)
	type background struct{} // marks what no request has asked for
	db, err := index.Open(t.Context(), index.Config{
		Database: filepath.Join(t.TempDir(), "index.db"),
		Observe: func(ctx context.Context, call string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if ctx.Value(background{}) == nil {
				h.calls = append(h.calls, call)
			}
			return nil
		},
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h.db = db
	ctx := context.WithValue(t.Context(), background{}, true)
	cfg := server.Config{}
	if told != nil {
		desk, err := events.Open(ctx, *told, db, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { desk.Close(context.Background()) })
		cfg.Witness = desk
	}
	reg, err := registry.Open(ctx, registry.Config{Redirect: redirect}, h.store, db, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	web := httptest.NewServer(server.New(cfg, reg, nil, log))
	t.Cleanup(web.Close)
	h.web = newRawClient(web.URL)
	t.Cleanup(h.web.close)
	if err := h.web.pushImage(t.Context(), "cost/source", "v1", postPut, newRawImage(h.rand, []byte("mounted"))); err != nil {
		t.Fatal(err)
	}
	return h
}

// fill makes a repository.
func (h *costHouse) fill() costRepo {
	h.t.Helper()
	h.repos++
	r := costRepo{fmt.Sprint("cost/", h.repos), newRawImage(h.rand, newRawBlob(h.rand, 1000)), newRawBlob(h.rand, 100)}
	err := h.web.pushImage(h.t.Context(), r.name, "v1", postPut, r.image)
	if err == nil {
		_, err = h.web.pushBlob(h.t.Context(), r.name, postPut, r.alone)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// reset begins to count from zero.
func (h *costHouse) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.since = nil, h.store.Counts()
}

// A storeCost is calls of a driver.
type storeCost struct {
	total int64
	by    map[string]int64 // by operation, without those that never happened
}

// spent returns the cost since reset. To sign a URL is no call of the store, and syncs happen behind the requests.
func (h *costHouse) spent() (storeCost, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := storeCost{by: make(map[string]int64)}
	for op, n := range h.store.Counts().Sub(h.since) {
		if n.Calls > 0 && op != metered.OpSign && op != metered.OpSync {
			c.by[op] = n.Calls
			c.total += n.Calls
		}
	}
	return c, slices.Clone(h.calls)
}

// A signing driver hands out URLs.
type signing struct{ drivers.Driver }

func (signing) SignURL(context.Context, string, string, time.Duration) (string, error) {
	return "http://elsewhere.example/", nil
}

// request is an operation of one request, to a path below the repository unless it begins with a slash.
func request(status int, method, path string, header ...string) func(*costHouse, costRepo) error {
	return func(h *costHouse, r costRepo) error {
		if !strings.HasPrefix(path, "/") {
			path = "/v2/" + r.name + "/" + strings.NewReplacer(
				"{manifest}", r.image.digest().String(),
				"{layer}", digest.FromBytes(r.image.blobs[0]).String(),
				"{alone}", digest.FromBytes(r.alone).String(),
				"{absent}", digest.FromString("absent").String(),
			).Replace(path)
		}
		_, err := h.web.want(h.t.Context(), status, method, path, nil, header...)
		return err
	}
}

func pushNew(shape rawShape, size int) func(*costHouse, costRepo) error {
	return func(h *costHouse, r costRepo) error {
		_, err := h.web.pushBlob(h.t.Context(), r.name, shape, newRawBlob(h.rand, size))
		return err
	}
}

// pushKnown pushes what another repository has.
func pushKnown(shape rawShape) func(*costHouse, costRepo) error {
	return func(h *costHouse, r costRepo) error {
		_, err := h.web.pushBlob(h.t.Context(), r.name, shape, []byte("mounted"))
		return err
	}
}

func pushAgain(h *costHouse, r costRepo) error {
	_, err := h.web.pushBlob(h.t.Context(), r.name, postPut, r.alone)
	return err
}

// uploadStatus begins an upload and asks for it.
func uploadStatus(h *costHouse, r costRepo) error {
	a, err := h.web.want(h.t.Context(), http.StatusAccepted, "POST", "/v2/"+r.name+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	_, err = h.web.want(h.t.Context(), http.StatusNoContent, "GET", a.header.Get("Location"), nil)
	return err
}

func mountFrom(from string) func(*costHouse, costRepo) error {
	return func(h *costHouse, r costRepo) error {
		_, err := h.web.want(h.t.Context(), http.StatusCreated, "POST",
			"/v2/"+r.name+"/blobs/uploads/?mount="+digest.FromString("mounted").String()+from, nil)
		return err
	}
}

// pushManifestTo pushes a manifest that is new.
func pushManifestTo(tag string) func(*costHouse, costRepo) error {
	return func(h *costHouse, r costRepo) error {
		config := r.image.blobs[len(r.image.blobs)-1]
		m := newRawManifest(v1.Manifest{Annotations: map[string]string{"new": r.name}}, config, r.image.blobs[0])
		return h.web.pushManifest(h.t.Context(), r.name, tag, m)
	}
}

func tagAgain(h *costHouse, r costRepo) error {
	return h.web.pushManifest(h.t.Context(), r.name, "again", r.image)
}

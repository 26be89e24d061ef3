package legacy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/legacy"
)

// Each thing that is broken leaves out the images that need it, says why, and nothing else.
func TestBroken(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		harm      func(o *oldStore, dir string) // dir is of the image that the tag's image builds on
	}{
		{"push that never ended", "its push has never ended", func(o *oldStore, dir string) { o.objects[dir+"_inprogress"] = "true" }},
		{"no layer", "there is no layer", func(o *oldStore, dir string) { delete(o.objects, dir+"layer") }},
		{"no json", "json", func(o *oldStore, dir string) { delete(o.objects, dir+"json") }},
		{"nothing at all", "there is no layer", func(o *oldStore, dir string) {
			for key := range o.objects {
				if strings.HasPrefix(key, dir) {
					delete(o.objects, key)
				}
			}
		}},
		{"json of another image", "has the id", func(o *oldStore, dir string) { o.objects[dir+"json"] = `{"id":"` + o.id() + `"}` }},
		{"json that is none", "its JSON: ", func(o *oldStore, dir string) { o.objects[dir+"json"] = `{` }},
		{"layer cut short", "unexpected EOF", func(o *oldStore, dir string) { o.objects[dir+"layer"] = o.objects[dir+"layer"][:60] }},
		{"plain layer cut short", "unexpected EOF", func(o *oldStore, dir string) { o.objects[dir+"layer"] = pack(o.t, files{"a": "b"})[:512] }},
		{"layer of no bytes", "no bytes", func(o *oldStore, dir string) {
			o.objects[dir+"layer"], o.objects[dir+"_checksum"] = "", `["tarsum+sha256:`+o.id()+`"]`
		}},
		{"layer of no bytes that had some", "its check sum is", func(o *oldStore, dir string) { o.objects[dir+"layer"] = "" }},
		{"another layer", "its check sum is", func(o *oldStore, dir string) { o.objects[dir+"layer"] = zipped(o.t, pack(o.t, files{"other": ""})) }},
		{"another layer, and a bare check sum", "its check sum is", func(o *oldStore, dir string) { o.objects[dir+"_checksum"] = "sha256:" + o.id() }},
		{"gzip of something else", "tar", func(o *oldStore, dir string) { o.objects[dir+"layer"] = zipped(o.t, strings.Repeat("x", 5000)) }},
		{"something after the gzip", "gzip", func(o *oldStore, dir string) { o.objects[dir+"layer"] += strings.Repeat("x", 5000) }},
		{"something else", "tar", func(o *oldStore, dir string) { o.objects[dir+"layer"] = strings.Repeat("x", 5000) }},
		{"two bytes", "EOF", func(o *oldStore, dir string) { o.objects[dir+"layer"] = "\x1f\x8b" }},
		{"xz", "xz", func(o *oldStore, dir string) { o.objects[dir+"layer"] = "\xfd7zXZ\x00" + strings.Repeat("x", 5000) }},
		{"config that clients cannot read", "none of an image", func(o *oldStore, dir string) {
			o.objects["repositories/library/bad/tag_v1"] = strings.Split(dir, "/")[1]
			o.push(strings.Split(dir, "/")[1], "", []byte(zipped(o.t, pack(o.t, nil))))
			o.objects[dir+"json"] = strings.Replace(o.objects[dir+"json"], `["PATH=/usr/bin:/bin"]`, `"PATH=/"`, 1)
			delete(o.objects, dir+"_checksum")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, want := town(t)
			base := o.image("", asGzip, files{"base": ""})
			o.tag("library/bad", "v1", o.image(base, asGzip, files{"top": ""}))
			tt.harm(o, "images/"+base+"/")
			h := newHouse(t, mem.New())
			report, j, err := h.bring(t, openFolder(t, o.inFolder()))
			if err != nil || report.LeftOut != 1 || report.Imported != len(want) {
				t.Errorf("got %+v, %v", report, err)
			}
			if why := j.leftOut["library/bad:v1"]; !strings.Contains(why, tt.why) || strings.Contains(why, "\n") {
				t.Errorf("left out: got %q, want it to say %q", j.leftOut, tt.why)
			}
			h.check(t, want)
		})
	}
}

// What is wrong with an ancestry or a tag is told, too.
func TestBrokenLists(t *testing.T) {
	o := newOldStore(t)
	good := o.image("", asGzip, files{"a": ""})
	short := "0123456789abcdef"
	o.push(short, "", []byte(zipped(t, pack(t, files{"short": ""}))))
	broken := func(ancestry string) string {
		id := o.image(good, asTar, files{"b": ""})
		o.objects["images/"+id+"/ancestry"] = strings.ReplaceAll(ancestry, "SELF", id)
		return id
	}
	noList := o.image(o.image(good, asGzip, files{"c": ""}), asGzip, files{"d": ""})
	delete(o.objects, "images/"+noList+"/ancestry")
	circle := broken("")
	delete(o.objects, "images/"+circle+"/ancestry")
	o.objects["images/"+circle+"/json"] = `{"id":"` + circle + `","parent":"` + circle + `"}`
	old := o.image("", asTar, files{"old": ""})
	delete(o.objects, "images/"+old+"/_checksum")
	o.objects["images/"+old+"/json"] = `{"id":"` + old + `","architecture":"","container_config":{"Cmd":"true"}}`
	void := o.id()
	o.push(void, good, nil)
	wrong := map[string]string{
		"listed": broken("{"), "empty": broken("[]"), "stranger": broken(`["` + good + `"]`), "twice": broken(`["SELF","SELF"]`),
		"path": broken(`["SELF","../../../` + good + `"]`), "circle": circle, "gone": o.id(), "text": "latest", "nothing": "", ".hidden": good,
	}
	for tag, id := range wrong {
		o.tag("library/a", tag, id)
	}
	o.tag("library/a", "%zz", good)
	for tag, id := range map[string]string{"short": short, "parents": noList, "_under": good, "old": old, "newline": good + "\n", "void": void} {
		o.tag("library/a", tag, id)
	}
	h := newHouse(t, mem.New())
	report, j, err := h.bring(t, openFolder(t, o.inFolder()))
	if err != nil || report.Imported != 6 {
		t.Errorf("got %+v, %v", report, err)
	}
	for tag := range wrong {
		if j.leftOut["library/a:"+tag] == "" {
			t.Errorf("tag %s is not reported", tag)
		}
	}
	if len(j.leftOut) != len(wrong)+1 {
		t.Errorf("left out: got %q", j.leftOut)
	}
	h.check(t, map[string]files{"a:short": {"short": ""}, "a:parents": {"a": "", "c": "", "d": ""}, "a:_under": {"a": ""},
		"a:old": {"old": ""}, "a:newline": {"a": ""}, "a:void": {"a": ""}})
}

// Repositories whose names are not valid today, or that would become one, stay behind unless they are renamed.
func TestNames(t *testing.T) {
	o := newOldStore(t)
	id := o.image("", asGzip, files{"a": ""})
	for _, repo := range []string{"library/Upper", "team/under___score", "library/fine", "fine/fine", "team/tw%252Fo", "team/%25ZZ"} {
		o.tag(repo, "v1", id)
	}
	o.objects["repositories/team/a/b/c/tag_v1"] = id
	o.objects["repositories/_notes"] = ""
	h := newHouse(t, mem.New())
	dir := o.inFolder()
	report, j, err := h.bring(t, openFolder(t, dir), renamed(t, "library/Upper", "upper"), renamed(t, "fine/fine", "fine"))
	if err != nil || report.Imported != 3 || report.LeftOut != 4 {
		t.Errorf("got %+v, %v", report, err)
	}
	for name, why := range map[string]string{"team/under___score": "NAME_INVALID", "library/fine": "fine/fine has become fine already",
		"repositories/team/%25ZZ/tag_v1": "%ZZ", "repositories/team/a/b/c/tag_v1": "namespace/repository/tag"} {
		if got := j.leftOut[name]; !strings.Contains(got, why) {
			t.Errorf("%s: got %q, want it to say %q", name, got, why)
		}
	}
	a := files{"a": ""}
	h.check(t, map[string]files{"upper:v1": a, "fine:v1": a, "team/tw/o:v1": a})

	tree, err := legacy.Scan(t.Context(), openFolder(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Rename("upper", "a"); err == nil {
		t.Error("a repository that is not there was renamed")
	}
	if err := tree.Rename("library/Upper", "B"); err == nil {
		t.Error("a repository got a name that is invalid")
	}
}

func TestScan(t *testing.T) {
	if _, err := legacy.Scan(t.Context(), mem.New()); !errors.Is(err, legacy.ErrNone) {
		t.Errorf("nothing: got error %v", err)
	}
	o := newOldStore(t)
	o.image("", asGzip, nil)
	if _, err := legacy.Scan(t.Context(), openFolder(t, o.inFolder())); err != nil {
		t.Errorf("images without repositories: got error %v", err)
	}
	if _, err := legacy.OpenFolder(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: got error %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := legacy.Scan(ctx, openFolder(t, o.inFolder())); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: got error %v", err)
	}
}

// hamlet is a small store: two repositories with a layer in common, and one without files.
func hamlet(t testing.TB) (*oldStore, map[string]files) {
	o := newOldStore(t)
	base := o.image("", asGzip, files{"base": "1"})
	top := o.image(o.image(base, asNothing, nil), asTar, files{"top": "2"})
	o.tag("library/a", "v1", base)
	o.tag("team/b", "v1", top)
	return o, map[string]files{"a:v1": o.images[base], "team/b:v1": o.images[top]}
}

// Whatever fails, and wherever the process ends, the next run brings what is missing, and reads no layer again that it
// knows to be there.
func TestFaults(t *testing.T) {
	for _, kind := range []string{"fails", "takes effect and fails", "is the last before the end"} {
		t.Run("operation of the new store "+kind, func(t *testing.T) {
			db := openIndex(t)
			for n := int64(0); tryFault(t, db, kind, n); n++ {
			}
		})
	}
}

// tryFault runs an import with a fault, and the two after it. It reports whether the import came as far as the fault.
func tryFault(t *testing.T, db *index.DB, kind string, n int64) (fired bool) {
	clear(t, db)
	o, want := hamlet(t)
	source := openFolder(t, o.inFolder())
	store := mem.New()
	fault := drivertest.FailNth(n)
	var armed, ended atomic.Bool
	h := openHouse(t, drivertest.Faulty(store, func(op drivertest.Op) error {
		if !armed.Load() {
			return nil
		}
		switch err := fault.Inject(op); {
		case kind == "takes effect and fails":
			return drivertest.After(err)
		case kind == "is the last before the end" && (ended.Load() || err != nil):
			ended.Store(true)
			return drivertest.ErrInjected
		default:
			return err
		}
	}), db)
	armed.Store(true)
	_, j, err := h.bring(t, source)
	harmless := kind == "takes effect and fails" && err == nil // what was looked for was not there
	if fault.Fired() != errors.Is(err, drivertest.ErrInjected) && !harmless || len(j.leftOut) > 0 {
		t.Errorf("%v: got error %v, left out %q", fault, err, j.leftOut)
	}
	if err := h.Close(context.Background()); err != nil && !fault.Fired() {
		t.Error(err)
	}
	h = openHouse(t, store, db)
	defer h.close(t)
	if _, j, err := h.bring(t, source); err != nil || len(j.leftOut) > 0 {
		t.Errorf("%v: the next run: %v, left out %q", fault, err, j.leftOut)
	}
	h.check(t, want)
	if report, _, err := h.bring(t, source); err != nil || report.Present != len(want) {
		t.Errorf("%v: the last run: got %+v, %v", fault, report, err)
	}
	return fault.Fired()
}

// An import that is stopped between any two looks at the old store goes on where it was.
func TestStopped(t *testing.T) {
	o, want := hamlet(t)
	folder := openFolder(t, o.inFolder())
	store, db := mem.New(), openIndex(t)
	layers := 0
	for n := int64(0); ; n++ {
		ctx, stop := context.WithCancel(t.Context())
		fault := drivertest.FailNth(n)
		source := watched{folder, func() {
			if fault.Inject(drivertest.Op{}) != nil {
				stop()
			}
		}}
		h := openHouse(t, store, db)
		tree, err := legacy.Scan(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		j := &journal{leftOut: make(map[string]string)}
		report, err := legacy.Import{From: tree, To: h.Registry, Store: store, Watch: j}.Run(ctx)
		layers += report.Layers
		if len(j.leftOut) > 0 || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("stop %d: got %v, left out %q", n, err, j.leftOut)
		}
		done := err == nil
		if done {
			h.check(t, want)
		}
		h.close(t)
		stop()
		if done {
			break
		}
	}
	if layers != 3 {
		t.Errorf("%d layers were imported, want each once", layers)
	}
}

// A watched source calls look before each look at it.
type watched struct {
	legacy.Source
	look func()
}

func (w watched) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	w.look()
	return w.Source.Open(ctx, key, off, n)
}

// An error of the old store is one of what it holds there; that it does not answer at all ends the import.
func TestSourceFails(t *testing.T) {
	db := openIndex(t)
	for _, tt := range []struct {
		err  error
		ends bool
	}{{drivertest.ErrInjected, false}, {fmt.Errorf("wrapped: %w", drivers.ErrUnavailable), true}} {
		for n := int64(0); trySourceFault(t, db, tt.err, tt.ends, n); n++ {
		}
	}
}

// trySourceFault runs an import whose n-th look at the old store fails with err, which ends it or not, and another one.
// It reports whether there were so many looks.
func trySourceFault(t *testing.T, db *index.DB, err error, ends bool, n int64) (fired bool) {
	clear(t, db)
	o, want := hamlet(t)
	store := mem.New()
	o.putTo(store)
	fault := drivertest.FailNth(n)
	faulty := drivertest.Faulty(store, func(op drivertest.Op) error {
		if op.Kind == drivertest.List && op.Key == "repositories/" || fault.Inject(op) == nil {
			return nil // Scan is not what is tried here
		}
		return err
	})
	h := openHouse(t, mem.New(), db)
	defer h.close(t)
	report, j, got := h.bring(t, faulty)
	if fault.Fired() && (ends != errors.Is(got, err) || ends != (len(j.leftOut) == 0)) || !ends && report.LeftOut+report.Imported != len(want) {
		t.Errorf("%v: got %+v, %v, left out %q", fault, report, got, j.leftOut)
	}
	if _, _, err := h.bring(t, store); err != nil {
		t.Errorf("%v: the next run: %v", fault, err)
	}
	h.check(t, want)
	return fault.Fired()
}

// A layer that the new registry knew and lost is read again.
func TestNoteIsOld(t *testing.T) {
	o, want := hamlet(t)
	source, store := openFolder(t, o.inFolder()), mem.New()
	h := newHouse(t, store)
	if _, _, err := h.bring(t, source); err != nil {
		t.Fatal(err)
	}
	for _, harm := range []func(key string) error{
		func(string) error { return nil },
		func(key string) error { return drivers.Put(t.Context(), store, key, nil) },
		func(key string) error { return drivers.Put(t.Context(), store, key, []byte(`{"diff_id":"md5:x"}`)) },
	} {
		fresh := mem.New() // without the blobs
		for _, o := range list(t, store, "parfait/import-v1/") {
			if err := harm(o.Key); err != nil {
				t.Fatal(err)
			}
			data, err := drivers.ReadAll(t.Context(), store, o.Key, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := drivers.Put(t.Context(), fresh, o.Key, data); err != nil {
				t.Fatal(err)
			}
		}
		h := newHouse(t, fresh)
		if report, _, err := h.bring(t, source); err != nil || report.Imported != len(want) {
			t.Errorf("got %+v, %v", report, err)
		}
		h.check(t, want)
	}
}

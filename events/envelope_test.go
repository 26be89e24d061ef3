package events_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/events"
)

// TestActs does all that there is to tell, and looks at what is told.
func TestActs(t *testing.T) {
	r := receive(t, nil)
	h := open(t, events.Config{Endpoints: []events.Endpoint{{URL: r.URL, Name: "hook"}}}, "")
	expect := func(what string, lines ...string) {
		t.Helper()
		eventually(t, what+" is told", func() bool { return len(r.got()) >= len(lines) })
		h.empty("hook")
		if got := r.lines(t); !slices.Equal(got, lines) {
			t.Errorf("%s:\ngot  %q\nwant %q", what, got, lines)
		}
		r.mu.Lock()
		r.bodies = nil
		r.mu.Unlock()
	}
	const octets = " application/octet-stream "
	layer, config := digest.FromString("layer").String(), digest.FromString("{}").String()
	h.pushBlob("a", "layer")
	session := h.want(202, "POST", "/v2/a/blobs/uploads/", "").Get("Location")
	h.want(202, "PATCH", session, "{}")
	h.want(201, "PUT", session+"?digest="+config, "")
	h.pushBlob("a", "layer")
	expect("a push of blobs", "push a "+layer+octets+"5", "push a "+config+octets+"2", "push a "+layer+octets+"5")

	h.want(201, "POST", "/v2/b/blobs/uploads/?mount="+layer+"&from=a", "")
	h.want(201, "POST", "/v2/b/blobs/uploads/?mount="+config, "")
	h.want(202, "POST", "/v2/b/blobs/uploads/?mount="+digest.FromString("absent").String()+"&from=a", "")
	expect("a mount", "mount b "+layer+octets+"a 5", "mount b "+config+octets+"2")

	payload := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":{"mediaType":"` + v1.MediaTypeImageConfig +
		`","digest":"` + config + `","size":2},"layers":[{"mediaType":"x/y","digest":"` + layer + `","size":5}]}`
	d := digest.FromString(payload).String()
	put := func(path string) {
		t.Helper()
		h.want(201, "PUT", "/v2/a/manifests/"+path, payload, "Content-Type", v1.MediaTypeImageManifest)
	}
	put("v1")
	put(d)
	put(d + "?tag=v2&tag=v3")
	rest := " " + d + " " + v1.MediaTypeImageManifest + fmt.Sprint(" ", len(payload))
	h.want(400, "PUT", "/v2/a/manifests/v4", `{}`, "Content-Type", v1.MediaTypeImageManifest)
	expect("a push of manifests", "push a v1"+rest, "push a"+rest, "push a v2"+rest, "push a v3"+rest)

	h.want(200, "GET", "/v2/a/manifests/v1", "")
	h.want(200, "HEAD", "/v2/a/manifests/"+d, "")
	h.want(304, "GET", "/v2/a/manifests/v1", "", "If-None-Match", d)
	h.want(404, "GET", "/v2/a/manifests/v9", "")
	h.want(200, "GET", "/v2/a/blobs/"+layer, "")
	h.want(200, "HEAD", "/v2/a/blobs/"+layer, "")
	h.want(206, "GET", "/v2/a/blobs/"+layer, "", "Range", "bytes=1-2")
	expect("a pull", "pull a v1"+rest, "pull a"+rest, "pull a "+layer+octets+"5", "pull a "+layer+octets+"5", "pull a "+layer+octets+"5")

	h.want(405, "DELETE", "/v2/a/blobs/"+layer, "")
	h.want(202, "DELETE", "/v2/a/manifests/v1", "")
	h.want(202, "DELETE", "/v2/a/manifests/"+d, "")
	h.want(202, "DELETE", "/v2/a/blobs/"+layer, "")
	h.want(404, "DELETE", "/v2/a/blobs/"+layer, "")
	expect("a delete", "delete a v1", "delete a "+d, "delete a v2", "delete a v3", "delete a "+layer)
}

// TestFormats looks at every field of an event, in each format.
func TestFormats(t *testing.T) {
	two, three, cloud := receive(t, nil), receive(t, nil), receive(t, nil)
	cfg := events.Config{Endpoints: []events.Endpoint{
		{Name: "2", URL: two.URL + "/hook?a=b", Headers: map[string][]string{"authorization": {"Bearer x"}, "X-Two": {"1", "2"}, "Host": {"hook.example"}}},
		{Name: "3", URL: three.URL, Format: events.Registry3},
		{Name: "c", URL: cloud.URL, Format: events.CloudEvents},
	}}
	cfg.Events.IncludeReferences, cfg.Port = true, "5000"
	host := make(chan string, 100)
	two.answer = func(r *http.Request, _ []byte) int { host <- r.Host; return http.StatusOK }
	h := open(t, cfg, "")
	child := document("child")
	h.want(201, "PUT", "/v2/some/app/manifests/child", child, "Content-Type", v1.MediaTypeImageIndex)
	h.empty("2")
	h.empty("3")
	h.empty("c")
	began := time.Now()
	payload := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[{"mediaType":"` + v1.MediaTypeImageIndex +
		`","digest":"` + digest.FromString(child).String() + `","size":9}]}`
	h.want(201, "PUT", "/v2/some/app/manifests/v1", payload, "Content-Type", v1.MediaTypeImageIndex, "X-Request-Id", "r-1",
		"X-Forwarded-For", "198.51.100.7", "X-Forwarded-Host", "registry.example", "X-Forwarded-Proto", "https")
	h.empty("2")
	h.empty("3")
	h.empty("c")

	e := two.envelopes(t)[1].Events[0]
	target, d := e.Target, digest.FromString(payload).String()
	if e.ID == "" || e.Action != "push" || e.Timestamp.Before(began) || time.Since(e.Timestamp) > time.Minute || e.Actor.Name != "" ||
		target.Digest != d || target.MediaType != v1.MediaTypeImageIndex || target.Size != int64(len(payload)) || target.Length != target.Size ||
		target.Repository != "some/app" || target.Tag != "v1" || target.FromRepository != "" ||
		target.URL != "https://registry.example/v2/some/app/manifests/"+d ||
		len(target.References) != 1 || target.References[0].Size != 9 || target.References[0].MediaType != v1.MediaTypeImageIndex {
		t.Errorf("got %+v", e)
	}
	if q := e.Request; q.ID != "r-1" || q.Addr != "198.51.100.7" || q.Host != "registry.example" || q.Method != "PUT" || q.UserAgent != "test/1" {
		t.Errorf("request: got %+v", q)
	}
	if !strings.HasSuffix(e.Source.Addr, ":5000") || e.Source.InstanceID == "" {
		t.Errorf("source: got %+v", e.Source)
	}
	for _, tt := range []struct {
		r    *receiver
		want string
	}{
		{two, "application/vnd.docker.distribution.events.v1+json"},
		{three, "application/vnd.docker.distribution.events.v2+json"},
		{cloud, "application/cloudevents+json; charset=utf-8"},
	} {
		if got := tt.r.header.Get("Content-Type"); got != tt.want {
			t.Errorf("content type: got %q, want %q", got, tt.want)
		}
	}
	if a := two.header; a.Get("Authorization") != "Bearer x" || len(a["X-Two"]) != 2 || <-host != "hook.example" {
		t.Errorf("headers: got %v", a)
	}
	if string(two.got()[1]) != string(three.got()[1]) || !strings.Contains(string(two.got()[1]), "\n   \"events\": [") {
		t.Errorf("got\n%s\nand\n%s", two.got()[1], three.got()[1])
	}

	sameCloudEvent(t, cloud.got()[1], two.got()[1])
}

// sameCloudEvent looks at every field of a CloudEvent, of which the same is told by an envelope.
func sameCloudEvent(t *testing.T, cloud, enveloped []byte) {
	t.Helper()
	var c struct {
		SpecVersion, ID, Source, Type, Subject, DataContentType string
		Time                                                    time.Time
		Data                                                    json.RawMessage
	}
	var e envelope
	if json.Unmarshal(cloud, &c) != nil || json.Unmarshal(enveloped, &e) != nil {
		t.Fatalf("got %s", cloud)
	}
	if c.SpecVersion != "1.0" || c.ID != e.Events[0].ID || c.Source != "//registry.example/v2/some/app" || c.Type != "com.github.parfait-registry.push" ||
		c.Subject != "v1" || !c.Time.Equal(e.Events[0].Timestamp) || c.DataContentType != "application/json" {
		t.Errorf("got %+v", c)
	}
	var data, event any
	var whole struct{ Events []json.RawMessage }
	if json.Unmarshal(enveloped, &whole) != nil || json.Unmarshal(whole.Events[0], &event) != nil || json.Unmarshal(c.Data, &data) != nil {
		t.Fatal("no JSON")
	}
	if a, b := encode(t, data), encode(t, event); a != b {
		t.Errorf("data: got %s, want %s", a, b)
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Everybody is told what he wants to know, and nothing else.
func TestIgnore(t *testing.T) {
	endpoint := func(name string) (*receiver, events.Endpoint) {
		r := receive(t, nil)
		return r, events.Endpoint{Name: name, URL: r.URL}
	}
	all, a := endpoint("all")
	pushes, b := endpoint("pushes")
	b.Ignore.Actions = []string{"pull", "delete"}
	manifests, c := endpoint("manifests")
	c.Ignore.MediaTypes, c.Ignore.Actions = []string{"application/octet-stream"}, []string{"pull"}
	older, d := endpoint("older")
	d.IgnoredMediaTypes = []string{v1.MediaTypeImageIndex}
	off, e := endpoint("off")
	e.Disabled = true
	h := open(t, events.Config{Endpoints: []events.Endpoint{a, b, c, d, e}}, "")
	blob := h.pushBlob("a", "layer").String()
	if err := h.tag("a", "v1", "x"); err != nil {
		t.Fatal(err)
	}
	h.want(200, "GET", "/v2/a/manifests/v1", "")
	eventually(t, "the pull is told", func() bool { return len(all.got()) == 3 })
	h.want(202, "DELETE", "/v2/a/blobs/"+blob, "")
	eventually(t, "the delete is told", func() bool { return len(all.got()) == 4 })
	for _, tt := range []struct {
		name string
		r    *receiver
		want string
	}{{"all", all, "push push pull delete"}, {"pushes", pushes, "push push"}, {"manifests", manifests, "push delete"},
		{"older", older, "push delete"}, {"off", off, ""}} {
		h.empty(tt.name)
		var got []string
		for _, e := range tt.r.envelopes(t) {
			got = append(got, e.Events[0].Action)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, text, tt.want)
		}
	}
}

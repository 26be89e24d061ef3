package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDashboard runs each expression of the dashboard and of the alerts, as Prometheus does, over the scrapes of a server that
// has something to do: each has data, with the labels that its legend or its text names. No alert fires before things go
// wrong.
func TestDashboard(t *testing.T) {
	box, port := newMailbox(t)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hook.Close()
	s := harness.StartParfait(t, harness.Options{Env: []string{"GC_GRACE=1s", "GC_INTERVAL=1s", "SMTP_HOST=127.0.0.1", "SMTP_PORT=" + port, "SMTP_TO_ADDR=ops@example.com",
		"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME=hook", "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL=" + hook.URL,
		"REGISTRY_NOTIFICATIONS_ENDPOINTS_1_NAME=nobody", "REGISTRY_NOTIFICATIONS_ENDPOINTS_1_URL=http://127.0.0.1:1"}})
	c, r := newRawClient(s.URL), rand.New(rand.NewPCG(6, 6))
	defer c.close()
	const window = 5 * time.Minute // of the alerts
	past := newHistory()
	past.scrape(t, s.URL+"/metrics")
	for range window / scrapeInterval {
		work(t, c, r)
		past.scrape(t, s.URL+"/metrics")
	}
	for _, e := range alerts(t) {
		if got := past.query(t, e.text, 0); len(got) > 0 {
			t.Errorf("%s fires for nothing: %s", e.where, got)
		}
	}
	for range window / scrapeInterval {
		work(t, c, r)
		spoil(t, s, c, r)
		past.scrape(t, s.URL+"/metrics")
	}
	select {
	case <-box: // the mail about that
	case <-time.After(time.Minute):
		t.Fatal("there is no mail")
	}
	past.scrape(t, s.URL+"/metrics")
	for _, e := range dashboard(t) {
		t.Run(e.where, func(t *testing.T) { e.check(t, past) })
	}
	var fired []string
	for _, e := range alerts(t) {
		if len(past.query(t, e.text, 0)) > 0 {
			fired = append(fired, e.where)
		}
		t.Run(e.where, func(t *testing.T) { e.compared(t).check(t, past) })
	}
	if want := []string{"ParfaitFails", "ParfaitAnswersCut"}; !slices.Equal(fired, want) {
		t.Errorf("%q fire when bytes are lost, want %q", fired, want)
	}
}

// work pushes, pulls and deletes.
func work(t *testing.T, c *rawClient, r *rand.Rand) {
	t.Helper()
	blob := newRawBlob(r, 100_000)
	m := newRawImage(r, blob)
	if err := c.pushImage(t.Context(), "team/app", "v1", postPut, m); err != nil {
		t.Fatal(err)
	}
	for _, request := range []struct {
		status         int
		method, target string
	}{
		{200, "GET", "/v2/team/app/manifests/v1"},
		{200, "GET", "/v2/team/app/blobs/" + digest.FromBytes(blob).String()},
		{200, "GET", "/v2/team/app/tags/list"},
		{404, "GET", "/v2/team/app/manifests/v2"},
		{202, "POST", "/v2/team/app/blobs/uploads/"},
		{202, "DELETE", "/v2/team/app/manifests/" + m.digest().String()},
	} {
		if _, err := c.want(t.Context(), request.status, request.method, request.target, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil has a server look for bytes that are gone, and for bytes that are fewer than it knows.
func spoil(t *testing.T, s *harness.Server, c *rawClient, r *rand.Rand) {
	t.Helper()
	gone, short := newRawBlob(r, 1000), newRawBlob(r, 1<<20)
	for _, content := range [][]byte{gone, short} {
		if _, err := c.pushBlob(t.Context(), "lost", postDigest, content); err != nil {
			t.Fatal(err)
		}
	}
	file := func(content []byte) string {
		hex := digest.FromBytes(content).Encoded()
		return filepath.Join(s.Storage, "docker/registry/v2/blobs/sha256", hex[:2], hex, "data")
	}
	if err := errors.Join(os.Remove(file(gone)), os.Truncate(file(short), 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.want(t.Context(), 500, "GET", "/v2/lost/blobs/"+digest.FromBytes(gone).String(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.do(t.Context(), "GET", "/v2/lost/blobs/"+digest.FromBytes(short).String(), nil); err == nil {
		t.Error("a blob of which most is lost was read")
	}
}

// An expression is one in PromQL, and the texts that are made of its results.
type expression struct {
	where, text string
	legend      string            // names labels as {{label}}
	annotations map[string]string // templates
	empty       bool              // as long as nothing of the kind goes wrong
}

// check wants data of the last minutes.
func (e expression) check(t *testing.T, past *history) {
	t.Helper()
	data := past.query(t, e.text, 2*time.Minute)
	if len(data) == 0 != e.empty {
		t.Fatalf("%s: %d series", e.text, len(data))
	}
	current := e.empty
	for _, series := range data {
		for _, m := range inLegend.FindAllStringSubmatch(e.legend, -1) {
			if !series.Metric.Has(m[1]) {
				t.Errorf("%s: the legend is %q, but there is only %s", e.text, e.legend, series.Metric)
			}
		}
		current = current || series.Floats[len(series.Floats)-1].T == past.now.UnixMilli()
		e.annotate(t, series.Metric)
	}
	if !current {
		t.Errorf("%s has nothing at the last scrape", e.text)
	}
}

var inLegend = regexp.MustCompile(`\{\{(\w+)\}\}`)

// annotate makes the texts of an alert.
func (e expression) annotate(t *testing.T, of labels.Labels) {
	t.Helper()
	text := func(v any) string { return fmt.Sprint(v) }
	functions := template.FuncMap{"humanize": text, "humanizeDuration": text, "humanizePercentage": text}
	for _, annotation := range e.annotations {
		tm, err := template.New("").Funcs(functions).Option("missingkey=error").Parse(`{{ $labels := .Labels }}{{ $value := .Value }}` + annotation)
		if err == nil {
			err = tm.Execute(io.Discard, map[string]any{"Labels": of.Map(), "Value": 0.5})
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// compared is what an alert looks at.
func (e expression) compared(t *testing.T) expression {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(e.text)
	if err != nil {
		t.Fatal(err)
	}
	comparison, ok := tree.(*parser.BinaryExpr)
	if !ok || !comparison.Op.IsComparisonOperator() {
		t.Fatalf("%s compares nothing", e.text)
	}
	e.text = comparison.LHS.String()
	return e
}

func dashboard(t *testing.T) (all []expression) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/grafana/parfait.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$job", "parfait", "$instance", ".*", "$__rate_interval", "1m").Replace
	ids, titles, place := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d %q: its id, place, title or lack of expressions is wrong", p.ID, p.Title)
		}
		if titles[p.Title] && p.Type != "row" {
			t.Errorf("two panels are called %q", p.Title)
		}
		ids[p.ID], titles[p.Title] = true, p.Type != "row"
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := place[at]; taken {
					t.Fatalf("panels %q and %q are in the same place", p.Title, other)
				}
				place[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			// Of these errors there are none; the sum of them is 0.
			empty := (p.Title == "Errors of the store" || p.Title == "Errors of the index") && target.LegendFormat != "all"
			all = append(all, expression{where: p.Title, text: fill(target.Expr), legend: target.LegendFormat, empty: empty})
		}
	}
	ofVariable := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range board.Templating.List {
		if v.Definition == "" {
			continue
		}
		m := ofVariable.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
			continue
		}
		all = append(all, expression{where: "variable " + v.Name, text: fmt.Sprintf("sum by (%s) (%s)", m[2], fill(m[1])), legend: "{{" + m[2] + "}}"})
	}
	if len(all) < 40 {
		t.Errorf("the dashboard has %d expressions", len(all))
	}
	return all
}

func alerts(t *testing.T) (all []expression) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/prometheus/parfait.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr string
				For         model.Duration
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, expression{where: r.Alert, text: r.Expr, annotations: r.Annotations})
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%s has no severity, or no summary", r.Alert)
			}
		}
	}
	if len(all) < 10 {
		t.Errorf("there are %d alerts", len(all))
	}
	return all
}

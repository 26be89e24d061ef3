package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDashboard holds the dashboard and the alerts to what a running server says: each metric, label and value of a label
// that an expression names is there.
func TestDashboard(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{Env: []string{`REGISTRY_NOTIFICATIONS_ENDPOINTS=[{name: nobody, url: "http://127.0.0.1:1"}]`}})
	c, r := newRawClient(s.URL), rand.New(rand.NewPCG(6, 6))
	defer c.close()
	if err := c.pushImage(t.Context(), "team/app", "v1", postPut, newRawImage(r, newRawBlob(r, 1000))); err != nil {
		t.Fatal(err)
	}
	visit(t, s.URL+"/v2/team/app/manifests/v1")
	shown := scrape(t, s.URL+"/metrics")
	for deadline := time.Now().Add(30 * time.Second); shown["parfait_events_queued"] == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		shown = scrape(t, s.URL+"/metrics")
	}
	for _, e := range slices.Concat(dashboard(t), alerts(t)) {
		t.Run(e.where, func(t *testing.T) {
			tree, err := parser.ParseExpr(e.text)
			if err != nil {
				t.Fatalf("%s: %v", e.text, err)
			}
			shown.check(t, tree)
		})
	}
}

// An expression is one in PromQL.
type expression struct{ where, text string }

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
			Targets     []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$job", "parfait", "$instance", ".*", "$__rate_interval", "5m").Replace
	ids, place := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d %q: its id, place, title or lack of expressions is wrong", p.ID, p.Title)
		}
		ids[p.ID] = true
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
			all = append(all, expression{p.Title, fill(target.Expr)})
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
		all = append(all, expression{"variable " + v.Name, fmt.Sprintf("sum by (%s) (%s)", m[2], fill(m[1]))})
	}
	if len(all) < 40 {
		t.Errorf("the dashboard has %d expressions", len(all))
	}
	return all
}

// alerts also executes the templates of the annotations.
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
	text := func(v any) string { return fmt.Sprint(v) }
	functions := template.FuncMap{"humanize": text, "humanizeDuration": text, "humanizePercentage": text}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, expression{r.Alert, r.Expr})
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%s has no severity, or no summary", r.Alert)
			}
			for _, annotation := range r.Annotations {
				tm, err := template.New("").Funcs(functions).Option("missingkey=error").Parse(`{{ $labels := .Labels }}{{ $value := .Value }}` + annotation)
				if err == nil {
					known := map[string]string{"instance": "i", "job": "j", "operation": "o", "call": "c", "endpoint": "e"}
					err = tm.Execute(&bytes.Buffer{}, map[string]any{"Labels": known, "Value": 0.5})
				}
				if err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
			}
		}
	}
	if len(all) < 10 {
		t.Errorf("there are %d alerts", len(all))
	}
	return all
}

// series are the labels of all series by the name of the metric, with their values.
type series map[string]map[string][]string

// scrape reads metrics as Prometheus does, with the labels that it adds.
func scrape(t *testing.T, url string) series {
	t.Helper()
	status, body := visit(t, url)
	if status != 200 {
		t.Fatalf("%s: got %d", url, status)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	all := series{"up": {"job": {"parfait"}, "instance": {"i"}}}
	for name, f := range families {
		names := []string{name}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			names = []string{name + "_bucket", name + "_count", name + "_sum"}
		}
		for _, name := range names {
			has := map[string][]string{"job": {"parfait"}, "instance": {"i"}}
			if strings.HasSuffix(name, "_bucket") {
				has["le"] = []string{"+Inf"}
			}
			for _, m := range f.Metric {
				for _, l := range m.Label {
					has[l.GetName()] = append(has[l.GetName()], l.GetValue())
				}
			}
			all[name] = has
		}
	}
	return all
}

// check looks up what an expression names, and returns the labels of its result.
func (s series) check(t *testing.T, tree parser.Expr) {
	t.Helper()
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			has, ok := s[n.Name]
			if !ok {
				t.Errorf("there is no metric %s", n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != labels.MetricName && !slices.ContainsFunc(has[m.Name], m.Matches) {
					t.Errorf("%s has no label %s", n.Name, m)
				}
			}
		case *parser.AggregateExpr:
			parser.Inspect(n.Expr, func(below parser.Node, _ []parser.Node) error {
				selector, ok := below.(*parser.VectorSelector)
				for _, label := range n.Grouping {
					if ok && s[selector.Name] != nil && s[selector.Name][label] == nil {
						t.Errorf("%s has no label %s", selector.Name, label)
					}
				}
				return nil
			})
		}
		return nil
	})
}

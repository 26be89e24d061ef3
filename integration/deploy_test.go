package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestSystemd has systemd look at the unit, with the program where the unit has it.
func TestSystemd(t *testing.T) {
	analyze := harness.Command(t, "systemd-analyze")
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/systemd/parfait.service"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, "parfait.service")
	const program = "/usr/local/bin/parfait"
	if !strings.Contains(string(text), "ExecStart="+program+" serve\n") {
		t.Fatalf("the unit does not run %s", program)
	}
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), program, harness.Parfait(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	_, line, _ := strings.Cut(string(text), "\nEnvironment=")
	line, _, _ = strings.Cut(line, "\n")
	if shown, status := harness.RunParfait(t, harness.Options{Wrap: []string{"env", "-u", "STORAGE_PATH"}, Env: strings.Fields(line)}, "config", "show"); status != 0 || !strings.Contains(shown, "storage_path: /var/lib/parfait") {
		t.Errorf("got status %d, and not the folder of the unit:\n%s", status, shown)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// objects are all kinds that the chart makes.
type objects struct {
	deployment apps.Deployment
	service    core.Service
	account    core.ServiceAccount
	secret     core.Secret
	budget     policy.PodDisruptionBudget
	ingress    networking.Ingress
	kinds      []string
}

// rendered renders the chart, and reads what comes as Kubernetes would: what its types do not have is an error.
func rendered(t *testing.T, values string) (o objects) {
	t.Helper()
	helm := newProgram(t, "helm")
	chart := filepath.Join(harness.Root(t), "deploy/helm/parfait")
	file := helm.write("values.yaml", values)
	helm.run("lint", "--strict", chart, "--values", file)
	for document := range strings.SplitSeq(helm.run("template", "images", chart, "--values", file), "\n---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatal(err)
		}
		into := map[string]any{"Deployment": &o.deployment, "Service": &o.service, "ServiceAccount": &o.account, "Secret": &o.secret,
			"PodDisruptionBudget": &o.budget, "Ingress": &o.ingress}[head.Kind]
		if into == nil {
			t.Fatalf("an object of an unknown kind %q:\n%s", head.Kind, document)
		}
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			t.Fatalf("%s: %v\n%s", head.Kind, err, document)
		}
		o.kinds = append(o.kinds, head.Kind)
	}
	slices.Sort(o.kinds)
	return o
}

// TestChart renders the chart with little and with all, and looks for what an operator relies on.
func TestChart(t *testing.T) {
	o := rendered(t, "s3: {bucket: images}\nexistingSecret: mine\n")
	if want := []string{"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}; !slices.Equal(o.kinds, want) {
		t.Errorf("got %q, want %q", o.kinds, want)
	}
	spec := o.deployment.Spec
	pod := spec.Template.Spec
	c := pod.Containers[0]
	if *spec.Replicas != 3 || len(pod.Containers) != 1 {
		t.Errorf("got %d replicas of %d containers, want 3 of 1", *spec.Replicas, len(pod.Containers))
	}
	if s, p := c.SecurityContext, pod.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !*p.RunAsNonRoot || *p.RunAsUser != 65532 {
		t.Errorf("got %+v and %+v", s, p)
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("got probes %v, %v and resources %v", c.LivenessProbe, c.ReadinessProbe, c.Resources)
	}
	for _, labels := range []map[string]string{spec.Selector.MatchLabels, o.service.Spec.Selector, o.budget.Spec.Selector.MatchLabels} {
		for name, value := range labels {
			if spec.Template.Labels[name] != value {
				t.Errorf("pods do not have the label %s=%s", name, value)
			}
		}
	}
	for _, name := range []string{"INDEX_DATABASE", "AWS_KEY", "AWS_SECRET"} {
		i := slices.IndexFunc(c.Env, func(v core.EnvVar) bool { return v.Name == name })
		if i < 0 || c.Env[i].ValueFrom.SecretKeyRef.Name != "mine" {
			t.Errorf("%s is not from the secret", name)
		}
	}

	o = rendered(t, `
s3: {bucket: images, endpoint: "https://minio:9000", path: /registry, redirect: true, publicEndpoint: "https://blobs.example.com"}
secret: {INDEX_DATABASE: "postgres://parfait:p@db/parfait", AWS_KEY: key, AWS_SECRET: secret}
htpasswdSecret: users
env: {LOGLEVEL: debug, MAX_PAGE_SIZE: 100}
image: {repository: registry.example.com/parfait, tag: v1.2.3, pullSecrets: [{name: regcred}]}
ingress: {enabled: true, className: nginx, tlsSecret: cert, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: "0"}}
serviceAccount: {annotations: {a: b}}
podAnnotations: {prometheus.io/scrape: "true"}
nodeSelector: {kubernetes.io/arch: arm64}
tolerations: [{key: a, operator: Exists}]
`)
	if want := []string{"Deployment", "Ingress", "PodDisruptionBudget", "Secret", "Service", "ServiceAccount"}; !slices.Equal(o.kinds, want) {
		t.Errorf("got %q, want %q", o.kinds, want)
	}
	if backend := o.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service; backend.Name != o.service.Name || backend.Port.Name != o.service.Spec.Ports[0].Name {
		t.Errorf("the ingress leads to %v, not to the service %s", backend, o.service.Name)
	}
	if o.secret.Name != o.deployment.Name || o.secret.StringData["AWS_SECRET"] != "secret" {
		t.Errorf("got the secret %v", o.secret)
	}
	if got := o.deployment.Spec.Template.Annotations["prometheus.io/scrape"]; got != "true" {
		t.Errorf("got the annotation %q, want true", got)
	}
	checkEnvironment(t, o.deployment.Spec.Template.Spec.Containers[0], o.secret)

	chart := filepath.Join(harness.Root(t), "deploy/helm/parfait")
	for values, want := range map[string]string{"existingSecret=x": "name the bucket", "s3.bucket=b": "give the URL of PostgreSQL"} {
		if got := newProgram(t, "helm").fails("template", "x", chart, "--set", values); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q", values, got, want)
		}
	}
}

// checkEnvironment has the program read what the chart tells it.
func checkEnvironment(t *testing.T, c core.Container, secret core.Secret) {
	t.Helper()
	var env []string
	for _, v := range c.Env {
		value := v.Value
		if v.ValueFrom != nil {
			value = secret.StringData[v.ValueFrom.SecretKeyRef.Key]
		}
		env = append(env, v.Name+"="+value)
	}
	out, status := harness.RunParfait(t, harness.Options{Env: env}, "config", "show")
	for _, want := range []string{"s3_bucket: images", "https://minio:9000", "loglevel: debug", "max_page_size: 100", "storage_redirect: true", "drain_timeout: 30s",
		"/etc/parfait/users/htpasswd", "https://blobs.example.com", "https://registry.example.com", "postgres://parfait:***@db/parfait"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("got status %d, no %q in\n%s", status, want, out)
		}
	}
}

// TestWorkflow reads what a forge runs: the check that anybody can run, and make dist for what is released.
func TestWorkflow(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), ".github/workflows/ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var flow struct {
		Jobs map[string]struct {
			Needs string
			Steps []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal(text, &flow); err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]string{"check": ".ci/run", "release": "make dist"} {
		runs := false
		for _, step := range flow.Jobs[job].Steps {
			runs = runs || step.Run == want
		}
		if !runs {
			t.Errorf("the job %s does not run %s", job, want)
		}
	}
	if flow.Jobs["release"].Needs != "check" {
		t.Error("a release is made without the check")
	}
}

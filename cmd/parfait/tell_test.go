package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/events"
)

// readFlavor reads the flavor a of a file.
func readFlavor(t *testing.T, text string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&options{file: path, flavor: "a"}).load()
}

// Endpoints are written as registry:2 has them, headers as one text or several.
func TestNotificationKeys(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(secret, []byte("https://hooks.example.com/1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readFlavor(t, `
a:
    storage: mem
    notifications:
        max_age: 24h
        endpoints:
            - name: alistener
              disabled: false
              url: https://my.listener.com/event
              headers: {Authorization: [Bearer x], X-One: one}
              timeout: 500ms
              threshold: 5
              backoff: 2s
              ignoredmediatypes: [application/octet-stream]
              ignore:
                  mediatypes: [application/octet-stream]
                  actions: [pull]
            - url_file: `+secret+`
              format: cloudevents
`)
	if err != nil {
		t.Fatal(err)
	}
	all := s.events.Notifications
	if all.MaxAge != 24*time.Hour || len(all.Endpoints) != 2 {
		t.Fatalf("got %+v", all)
	}
	e := all.Endpoints[0]
	if e.Name != "alistener" || e.URL != "https://my.listener.com/event" || e.Headers["Authorization"][0] != "Bearer x" || e.Headers["X-One"][0] != "one" ||
		e.Timeout != 500*time.Millisecond || e.Threshold != 5 || e.Backoff != 2*time.Second || len(e.IgnoredMediaTypes) != 1 ||
		len(e.Ignore.MediaTypes) != 1 || e.Ignore.Actions[0] != "pull" {
		t.Errorf("got %+v", e)
	}
	if e := all.Endpoints[1]; e.URL != "https://hooks.example.com/1234" || e.Format != events.CloudEvents {
		t.Errorf("got %+v", e)
	}
}

// The environment has the endpoints as registry:2 has them there: key by key, numbered from 0 on.
func TestNotificationVariables(t *testing.T) {
	const prefix = "REGISTRY_NOTIFICATIONS_ENDPOINTS_"
	for name, value := range map[string]string{
		"0_NAME": "alistener", "0_URL": "https://my.listener.com/event", "0_HEADERS": "{Authorization: [Bearer x]}", "0_TIMEOUT": "500ms",
		"0_THRESHOLD": "5", "0_BACKOFF": "2s", "0_IGNOREDMEDIATYPES": "[a/b]", "0_IGNORE_MEDIATYPES": "[c/d]", "0_IGNORE_ACTIONS": "[pull]",
		"1_URL": "https://other.example.com", "1_DISABLED": "true",
	} {
		t.Setenv(prefix+name, value)
	}
	s, err := (&options{flavor: "dev"}).load()
	if err != nil {
		t.Fatal(err)
	}
	want := []events.Endpoint{
		{Name: "alistener", URL: "https://my.listener.com/event", Headers: map[string][]string{"Authorization": {"Bearer x"}},
			Timeout: 500 * time.Millisecond, Threshold: 5, Backoff: 2 * time.Second, IgnoredMediaTypes: []string{"a/b"},
			Ignore: events.Ignore{MediaTypes: []string{"c/d"}, Actions: []string{"pull"}}},
		{URL: "https://other.example.com", Disabled: true},
	}
	if got := s.events.Notifications.Endpoints; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, shown, _ := command(t, "config", "show"); !strings.Contains(shown, `url: "***"  # $`+prefix+"0_URL\n") ||
		!strings.Contains(shown, "timeout: 500ms  # $"+prefix+"0_TIMEOUT\n") {
		t.Errorf("shown is\n%s", shown)
	}
	for name, value := range map[string]string{"0_TIMEOUT": "soon", "3_URL": "https://a", "0_IGNORE_ACTIONS": "[sell]"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(prefix+name, value)
			status, _, stderr := command(t, "serve")
			if status != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, prefix+name) && !strings.Contains(stderr, strings.Trim(value, "[]")) {
				t.Errorf("got status %d, %q", status, stderr)
			}
		})
	}
}

func TestBadTellers(t *testing.T) {
	for _, tt := range []struct{ keys, want string }{
		{`notifications: {endpoints: [{url: "http://a", thresold: 3}]}`, "unknown key notifications.endpoints.thresold; did you mean notifications.endpoints.threshold?"},
		{`notifications: {endpoints: [{url: "http://a", ignore: {action: [pull]}}]}`, "did you mean notifications.endpoints.ignore.actions?"},
		{`notifications: {endpoint: []}`, "did you mean notifications.endpoints?"},
		{`notifications: {endpoints: [{url: "http://a", timeout: soon}]}`, `notifications.endpoints.timeout: expected a duration`},
		{`notifications: {endpoints: [{name: a}]}`, "notifications.endpoints: a: its url is none"},
		{`email_exceptions: {smtp_host: mx, to_addr: nobody}`, "to_addr"},
		{`email_exceptions: {smtp_hots: mx}`, "did you mean email_exceptions.smtp_host?"},
		{`smtp_host: mx`, "to_addr"},
	} {
		_, err := readFlavor(t, "a: {storage: mem, "+tt.keys+"}")
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", tt.keys, err, tt.want)
		}
	}
}

// Where the keys of mail are in a group and outside of it, the group with a host counts.
func TestMailKeys(t *testing.T) {
	for _, tt := range []struct{ keys, host, to string }{
		{"email_exceptions: {smtp_host: group, to_addr: g@b}, smtp_host: flat, to_addr: f@b", "group", "g@b"},
		{"email_exceptions: {to_addr: g@b}, smtp_host: flat, to_addr: f@b", "flat", "f@b"},
		{"email_exceptions: {smtp_host: '', to_addr: g@b}, smtp_host: flat", "flat", "g@b"},
		{"email_exceptions: {to_addr: g@b}", "", "g@b"},
	} {
		s, err := readFlavor(t, "a: {storage: mem, "+tt.keys+"}")
		if err != nil {
			t.Errorf("%s: %v", tt.keys, err)
			continue
		}
		if got := s.mail(); got.Host != tt.host || got.To != tt.to {
			t.Errorf("%s: got %q and %q", tt.keys, got.Host, got.To)
		}
	}
}

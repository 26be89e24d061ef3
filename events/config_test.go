package events_test

import (
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/events"
)

func TestCheck(t *testing.T) {
	ignoring := func(actions ...string) (e events.Endpoint) {
		e.URL, e.Ignore.Actions = "http://hook", actions
		return e
	}
	for _, tt := range []struct {
		name      string
		endpoints []events.Endpoint
		want      string // of the error; empty if there is none
	}{
		{"nobody", nil, ""},
		{"one", []events.Endpoint{{URL: "https://hook.example/x?y=z", Format: "cloudevents", Headers: map[string][]string{"X-A": {"b c"}}}}, ""},
		{"two", []events.Endpoint{{URL: "http://hook:8080"}, {URL: "http://hook:8081"}}, ""},
		{"of one host", []events.Endpoint{{URL: "http://hook/hush"}, {URL: "http://hook/hush2"}}, `two are named "hook"`},
		{"of one name", []events.Endpoint{{Name: "a", URL: "http://b"}, {Name: "a", URL: "http://c"}}, `two are named "a"`},
		{"no url", []events.Endpoint{{Name: "a"}}, "a: its url is none"},
		{"no url and no name", []events.Endpoint{{URL: "http://b"}, {}}, "number 2: its url is none"},
		{"another scheme", []events.Endpoint{{URL: "ftp://hush@host"}}, "number 1: its url is none"},
		{"no host", []events.Endpoint{{URL: "http:///hush"}}, "number 1: its url is none"},
		{"nonsense", []events.Endpoint{{URL: "http://hush\x00"}}, "number 1: its url is none"},
		{"actions", []events.Endpoint{ignoring("push", "pull", "mount", "delete")}, ""},
		{"another action", []events.Endpoint{ignoring("push", "pulls")}, `"pulls" is none of`},
		{"another format", []events.Endpoint{{URL: "http://hook", Format: "xml"}}, `"xml" is none of`},
		{"a name of a header", []events.Endpoint{{URL: "http://hook", Headers: map[string][]string{"A B": nil}}}, `"A B" is no name`},
		{"a value of a header", []events.Endpoint{{URL: "http://hook", Headers: map[string][]string{"x-a": {"hush\r\nB: c"}}}}, "the value of X-A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := events.Config{Endpoints: tt.endpoints}.Check()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := (events.Config{MaxAge: -1}).Check(); err == nil {
		t.Error("an age below zero is none")
	}
}

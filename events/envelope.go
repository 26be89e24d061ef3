package events

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/registry"
)

// A Format is how an event is sent.
type Format string

// The formats.
const (
	Registry2   Format = "registry2"
	Registry3   Format = "registry3"
	CloudEvents Format = "cloudevents"
)

// contentType is the media type of what is sent; empty if f is no format.
func (f Format) contentType() string {
	switch f {
	case Registry2:
		return "application/vnd.docker.distribution.events.v1+json"
	case Registry3:
		return "application/vnd.docker.distribution.events.v2+json"
	case CloudEvents:
		return "application/cloudevents+json; charset=utf-8"
	}
	return ""
}

// An event is what registry:2 tells of an act. It is also how events are queued, whatever they are sent as.
type event struct {
	ID        string          `json:"id"`
	Timestamp time.Time       `json:"timestamp"`
	Action    registry.Action `json:"action"`
	Target    target          `json:"target"`
	Request   request         `json:"request"`
	Actor     actor           `json:"actor"`
	Source    source          `json:"source"`
}

type target struct {
	MediaType      string          `json:"mediaType,omitempty"`
	Size           int64           `json:"size,omitempty"`
	Digest         digest.Digest   `json:"digest,omitempty"`
	Length         int64           `json:"length,omitempty"` // the same as Size
	Repository     registry.Name   `json:"repository"`
	FromRepository registry.Name   `json:"fromRepository,omitempty"`
	URL            string          `json:"url,omitempty"`
	Tag            string          `json:"tag,omitempty"`
	References     []v1.Descriptor `json:"references,omitempty"`
}

type request struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"`
	Host      string `json:"host"`
	Method    string `json:"method"`
	UserAgent string `json:"useragent"`
}

type actor struct {
	Name string `json:"name,omitempty"`
}

// A source is the process that has served the request.
type source struct {
	Addr       string `json:"addr"`
	InstanceID string `json:"instanceID"`
}

// describe makes the event of an act.
func (d *Dispatcher) describe(act registry.Act) []byte {
	e := event{
		ID:        uuid.NewString(),
		Timestamp: act.At.UTC(),
		Action:    act.Action,
		Target: target{MediaType: act.MediaType, Size: act.Size, Digest: act.Digest, Length: act.Size, Repository: act.Repo,
			FromRepository: act.From, Tag: act.Tag, URL: act.By.Root + path(act)},
		Request: request{ID: act.By.RequestID, Addr: act.By.Addr, Host: act.By.Host, Method: act.By.Method, UserAgent: act.By.UserAgent},
		Actor:   actor{act.By.User},
		Source:  d.source,
	}
	if act.Action == registry.Delete {
		e.Target.URL = "" // there is nothing any more
	}
	if d.cfg.Events.IncludeReferences {
		e.Target.References = references(act.Payload)
	}
	text, _ := json.Marshal(e) // which has nothing that cannot be encoded
	return text
}

// references lists what a manifest names. That of a blob is nothing.
func references(payload []byte) []v1.Descriptor {
	var doc struct {
		Config    *v1.Descriptor
		Layers    []v1.Descriptor
		Manifests []v1.Descriptor
	}
	if len(payload) == 0 || json.Unmarshal(payload, &doc) != nil {
		return nil
	}
	var all []v1.Descriptor
	if doc.Config != nil {
		all = append(all, *doc.Config)
	}
	return append(append(all, doc.Layers...), doc.Manifests...)
}

// A cloudEvent is an event in the JSON format of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"` // the event of registry:2
}

// eventType is what the type of a CloudEvent begins with. The action follows.
const eventType = "com.github.parfait-registry."

// encode writes an event that was queued in the format f.
func (f Format) encode(queued []byte) ([]byte, error) {
	if f != CloudEvents {
		var body bytes.Buffer
		err := json.Indent(&body, append(append([]byte(`{"events":[`), queued...), "]}"...), "", "   ")
		return body.Bytes(), err
	}
	var e event
	if err := json.Unmarshal(queued, &e); err != nil {
		return nil, err
	}
	return json.Marshal(cloudEvent{
		SpecVersion:     "1.0",
		ID:              e.ID,
		Source:          (&url.URL{Host: e.Request.Host, Path: "/v2/" + string(e.Target.Repository)}).String(),
		Type:            eventType + string(e.Action),
		Subject:         cmp.Or(e.Target.Tag, e.Target.Digest.String()),
		Time:            e.Timestamp,
		DataContentType: "application/json",
		Data:            queued,
	})
}

// path is where the registry has what an act was about.
func path(act registry.Act) string {
	kind := "/manifests/"
	if act.MediaType == registry.BlobMediaType {
		kind = "/blobs/"
	}
	return "/v2/" + string(act.Repo) + kind + act.Digest.String()
}

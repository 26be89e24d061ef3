package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/parfait-registry/parfait/registry"
)

// maxTags bounds the tag parameters of one push (end-7b); a client may count on 10.
const maxTags = 100

// repoAndReference parses the path of a manifest.
func repoAndReference(w http.ResponseWriter) (registry.Name, registry.Reference, error) {
	rw := wrap(w)
	repo, err := registry.ParseName(rw.repository)
	if err != nil {
		return "", registry.Reference{}, err
	}
	ref, err := registry.ParseReference(rw.param)
	return repo, ref, err
}

// getManifest answers end-3, HEAD too. It serves the manifest with the media type that it was pushed with and does
// not look at Accept: a digest has one representation only, so the one other answer would be a 404, and clients in
// the field send an Accept that is incomplete, or none, and take what they get.
func (s *Server) getManifest(w http.ResponseWriter, r *http.Request) error {
	repo, ref, err := repoAndReference(w)
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Code == registry.ManifestInvalid {
		return &registry.Error{Code: registry.ManifestUnknown, Message: e.Message} // nothing can have such a tag
	}
	if err != nil {
		return err
	}
	m, err := s.reg.Manifest(r.Context(), repo, ref)
	if err != nil {
		return err
	}
	h := w.Header()
	setContentHeaders(h, m.Digest, "")
	if notModified(r, m.Digest) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	v := [...]string{m.MediaType, strconv.Itoa(len(m.Payload))}
	h["Content-Type"], h["Content-Length"] = v[0:1:1], v[1:2:2]
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		if _, err := w.Write(m.Payload); err != nil {
			return &sendError{err}
		}
	}
	s.pulled(w, r, registry.Act{Repo: repo, Tag: ref.Tag, Digest: m.Digest, MediaType: m.MediaType,
		Size: int64(len(m.Payload)), Payload: m.Payload})
	return nil
}

// putManifest answers end-7a and end-7b.
func (s *Server) putManifest(w http.ResponseWriter, r *http.Request) error {
	repo, ref, err := repoAndReference(w)
	if err != nil {
		return err
	}
	tags, err := tagParameters(r, ref)
	if err != nil {
		return err
	}
	payload, err := s.readManifest(w, r)
	if err != nil {
		return err
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	m, err := s.acting(w, r).PutManifest(r.Context(), repo, ref, strings.TrimSpace(mediaType), payload, tags...)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", s.location(w, r, "/v2/"+string(repo)+"/manifests/"+m.Digest.String()))
	h.Set("Docker-Content-Digest", m.Digest.String())
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject.String()) // the client need not keep a referrers tag
	}
	if len(tags) > 0 {
		h["Oci-Tag"] = tags
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest answers end-9.
func (s *Server) deleteManifest(w http.ResponseWriter, r *http.Request) error {
	repo, ref, err := repoAndReference(w)
	if err != nil {
		return err
	}
	if err := s.acting(w, r).DeleteManifest(r.Context(), repo, ref); err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// tagParameters returns the tags that a push by digest asks for, each once.
func tagParameters(r *http.Request, ref registry.Reference) ([]string, error) {
	asked := r.URL.Query()["tag"]
	if len(asked) == 0 {
		return nil, nil
	}
	if ref.Tag != "" {
		return nil, &registry.Error{Code: registry.ManifestInvalid,
			Message: fmt.Sprintf("tag parameters go with a digest: this push is to tag %q already", ref.Tag)}
	}
	if len(asked) > maxTags {
		return nil, &statusError{http.StatusRequestURITooLong, &registry.Error{Code: registry.ManifestInvalid,
			Message: fmt.Sprintf("%d tag parameters: at most %d are allowed", len(asked), maxTags)}}
	}
	var tags []string
	for _, t := range asked {
		if err := registry.ParseTag(t); err != nil {
			return nil, err
		}
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags, nil
}

// readManifest reads the body of a push, as far as a manifest may be long.
func (s *Server) readManifest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := s.reg.MaxManifestSize()
	tooLarge := &statusError{http.StatusRequestEntityTooLarge, &registry.Error{Code: registry.ManifestInvalid,
		Message: fmt.Sprintf("the manifest is longer than %d bytes", limit)}}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	// The limit is told to the connection itself, which MaxBytesReader would not find behind a wrapper.
	limited := http.MaxBytesReader(wrap(w).ResponseWriter, r.Body, limit)
	payload, err := io.ReadAll(bodyReader{limited})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	return payload, err
}

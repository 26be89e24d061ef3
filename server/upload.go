package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/registry"
)

// startUpload answers end-4a to end-4c and end-11: it mounts a blob, takes one that comes with the request, or begins
// a session.
func (s *Server) startUpload(w http.ResponseWriter, r *http.Request) error {
	repo, err := registry.ParseName(wrap(w).repository)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	alg := digest.Canonical
	if a := q.Get("digest-algorithm"); a != "" {
		if alg, err = registry.ParseAlgorithm(a); err != nil {
			return err
		}
	}
	if q.Has("mount") {
		d, mounted, err := s.mount(w, r, repo, q.Get("mount"), q.Get("from"))
		if err != nil {
			return err
		}
		if mounted {
			s.created(w, r, repo, d)
			return nil
		}
		if d != "" {
			alg = d.Algorithm()
		}
	}
	if q.Has("digest") {
		d, err := registry.ParseDigest(q.Get("digest"))
		if err != nil {
			return err
		}
		// Without a body this is the blob only if the blob is empty; else an older client announces what it will PUT.
		if r.ContentLength != 0 || d == d.Algorithm().FromBytes(nil) {
			return s.pushBlob(w, r, repo, d)
		}
		alg = d.Algorithm()
	}
	session, err := s.reg.StartUpload(r.Context(), repo, alg)
	if err != nil {
		return err
	}
	s.answerSession(w, r, repo, session, http.StatusAccepted)
	return nil
}

// mount tries end-11. That it cannot be done, be it for a digest or a repository that is none, or is not the client's to
// pull from, is no error: the client is given a session then. d is the digest, if it is one.
func (s *Server) mount(w http.ResponseWriter, r *http.Request, repo registry.Name, mount, from string) (d digest.Digest, mounted bool, err error) {
	if d, err = registry.ParseDigest(mount); err != nil {
		return "", false, nil
	}
	var source registry.Name
	if from != "" {
		if source, err = registry.ParseName(from); err != nil {
			return d, false, nil
		}
	}
	_, err = s.acting(w, r).MountBlob(r.Context(), repo, d, source, wrap(w).client.Pulls())
	if e, ok := errors.AsType[*registry.Error](err); ok && statusOf(e.Code) == http.StatusNotFound {
		return d, false, nil
	}
	return d, err == nil, err
}

// pushBlob answers end-4b.
func (s *Server) pushBlob(w http.ResponseWriter, r *http.Request, repo registry.Name, d digest.Digest) error {
	c, err := requestChunk(r)
	if err != nil {
		return err
	}
	if _, err := s.acting(w, r).PushBlob(r.Context(), repo, d, c); err != nil {
		return err
	}
	s.created(w, r, repo, d)
	return nil
}

// upload answers end-13.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) error {
	repo, id, err := repoAndSession(w)
	if err != nil {
		return err
	}
	session, err := s.reg.Upload(r.Context(), repo, id)
	if err != nil {
		return err
	}
	s.answerSession(w, r, repo, session, http.StatusNoContent)
	return nil
}

// patchUpload answers end-5. It takes any Content-Type: crane, for one, sends none.
func (s *Server) patchUpload(w http.ResponseWriter, r *http.Request) error {
	repo, id, err := repoAndSession(w)
	if err != nil {
		return err
	}
	c, err := requestChunk(r)
	if err != nil {
		return s.refuseChunk(w, r, repo, id, err)
	}
	session, err := s.reg.WriteChunk(r.Context(), repo, id, c)
	if err != nil {
		return s.refuseChunk(w, r, repo, id, err)
	}
	s.answerSession(w, r, repo, session, http.StatusAccepted)
	return nil
}

// putUpload answers end-6: it ends a session, perhaps with its last chunk.
func (s *Server) putUpload(w http.ResponseWriter, r *http.Request) error {
	repo, id, err := repoAndSession(w)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if !q.Has("digest") {
		return &registry.Error{Code: registry.DigestInvalid, Message: "the query has no digest of the blob"}
	}
	d, err := registry.ParseDigest(q.Get("digest"))
	if err != nil {
		return err
	}
	last, err := requestChunk(r)
	if err != nil {
		return s.refuseChunk(w, r, repo, id, err)
	}
	if _, err := s.acting(w, r).CommitUpload(r.Context(), repo, id, d, last); err != nil {
		return s.refuseChunk(w, r, repo, id, err)
	}
	s.created(w, r, repo, d)
	return nil
}

// deleteUpload answers end-14.
func (s *Server) deleteUpload(w http.ResponseWriter, r *http.Request) error {
	repo, id, err := repoAndSession(w)
	if err != nil {
		return err
	}
	if err := s.reg.CancelUpload(r.Context(), repo, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// repoAndSession parses the path of a session. What cannot be the id of one is unknown without a look-up.
func repoAndSession(w http.ResponseWriter) (registry.Name, string, error) {
	rw := wrap(w)
	repo, err := registry.ParseName(rw.repository)
	if err != nil {
		return "", "", err
	}
	id := rw.param
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' || len(id) > 64 {
			return "", "", &registry.Error{Code: registry.BlobUploadUnknown,
				Message: fmt.Sprintf("upload session %.64q is unknown", id)}
		}
	}
	return repo, id, nil
}

// requestChunk returns the body of a request with what its headers say of it.
func requestChunk(r *http.Request) (registry.Chunk, error) {
	c := registry.Chunk{Body: bodyReader{r.Body}, Start: -1, Length: r.ContentLength}
	h := r.Header.Get("Content-Range")
	if h == "" {
		return c, nil
	}
	first, last, err := parseContentRange(h)
	if err != nil {
		return c, err
	}
	n := last - first + 1
	if c.Length >= 0 && c.Length != n {
		return c, &registry.Error{Code: registry.SizeInvalid,
			Message: fmt.Sprintf("content range %.100q is of %d bytes, the body is of %d", h, n, c.Length)}
	}
	c.Start, c.Length = first, n
	return c, nil
}

// refuseChunk returns err, having told the client of a chunk in the wrong place where the right one is, if the
// session is there at all. The session lives on.
func (s *Server) refuseChunk(w http.ResponseWriter, r *http.Request, repo registry.Name, id string, err error) error {
	if e, ok := errors.AsType[*registry.Error](err); !ok || e.Code != registry.RangeInvalid {
		return err
	}
	session, e := s.reg.Upload(r.Context(), repo, id)
	if e != nil {
		return e
	}
	s.setSession(w, r, repo, session)
	return err
}

// answerSession tells a client where it and its session are.
func (s *Server) answerSession(w http.ResponseWriter, r *http.Request, repo registry.Name, session registry.Session, status int) {
	s.setSession(w, r, repo, session)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

func (s *Server) setSession(w http.ResponseWriter, r *http.Request, repo registry.Name, session registry.Session) {
	h := w.Header()
	h.Set("Location", s.location(w, r, "/v2/"+string(repo)+"/blobs/uploads/"+session.ID))
	h.Set("Range", "0-"+strconv.FormatInt(max(session.Size-1, 0), 10)) // there is no other way to say none
	h.Set("Docker-Upload-Uuid", session.ID)
}

// created tells a client where its blob is now.
func (s *Server) created(w http.ResponseWriter, r *http.Request, repo registry.Name, d digest.Digest) {
	h := w.Header()
	h.Set("Location", s.location(w, r, "/v2/"+string(repo)+"/blobs/"+d.String()))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

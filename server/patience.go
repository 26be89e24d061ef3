package server

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/parfait-registry/parfait/registry"
)

// errSlow says that a client took too long to send a body.
var errSlow = errors.New("the client is too slow")

// A patientBody is a body that ends when its client is too slow.
//
// It is waited for bytes for as long as patience lasts, which a wait uses up and each byte adds to, as much as it may take
// at the lowest rate. So a client may pause for most of the time, and for long, but not trickle for ever. The time that the
// registry itself takes between two reads costs the client nothing.
type patientBody struct {
	io.ReadCloser
	conn    *http.ResponseController
	most    time.Duration // of patience
	perByte time.Duration // that each byte adds

	left  time.Duration
	timer *time.Timer // ends the wait; nil before the first read
	late  atomic.Bool // it has
	over  bool        // there is nothing left to read
	read  int64       // bytes
}

// bePatient bounds how long the body of a request may take. Call leave when it is read no more, and before an answer is
// written: net/http looks at the body then, which has to be its own again.
func (s *Server) bePatient(w http.ResponseWriter, r *http.Request) (leave func()) {
	own := r.Body
	b := s.newPatientBody(w, own)
	r.Body = b
	return func() {
		r.Body = own
		wrap(w).received = b.read
		b.leave()
	}
}

func (s *Server) newPatientBody(w http.ResponseWriter, body io.ReadCloser) *patientBody {
	return &patientBody{
		ReadCloser: body,
		conn:       http.NewResponseController(w),
		most:       s.cfg.BodyTimeout,
		left:       s.cfg.BodyTimeout,
		perByte:    time.Second / time.Duration(s.cfg.MinUploadRate),
	}
}

func (b *patientBody) Read(p []byte) (int, error) {
	start := time.Now()
	if b.timer == nil {
		b.timer = time.AfterFunc(b.left, b.end)
	} else {
		b.timer.Reset(b.left)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.left = min(b.most, b.left-time.Since(start)+time.Duration(n)*b.perByte)
	b.over = err != nil
	b.read += int64(n)
	if err != nil && err != io.EOF && b.late.Load() {
		err = &registry.Error{Code: registry.BlobUploadInvalid, Message: "the body came too slowly", Err: errSlow}
	}
	return n, err
}

// leave bounds how long net/http may read what is left of a short body, which it does so that the connection is of use to
// another request.
func (b *patientBody) leave() {
	if !b.over {
		_ = b.conn.SetReadDeadline(time.Now().Add(b.left)) // see end
	}
}

// end has a read that waits for the client return. What is left of the connection is of no use to another request.
func (b *patientBody) end() {
	b.late.Store(true)
	_ = b.conn.SetReadDeadline(time.Unix(1, 0)) // a connection that has no deadlines is none of a client far away
}

package parts

import (
	"errors"
	"io"
	"sync"
)

// A Loan lets a request read a buffer that will be used for something else. Package net/http may go on reading the body
// of a request after it has returned the answer, or an error: what it reads after Return is an error, and never what
// the buffer holds then.
type Loan struct {
	mu   sync.Mutex
	data []byte // mu guards data: nil after Return
	size int64
}

// Lend lends data until Return is called.
func Lend(data []byte) *Loan { return &Loan{data: data, size: int64(len(data))} }

// Return ends the loan. No reader touches the buffer after that.
func (l *Loan) Return() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = nil
}

// Open returns a reader of the whole buffer. It may be sought in while a request that is given up still reads.
func (l *Loan) Open() io.ReadSeekCloser { return &loanReader{loan: l} }

type loanReader struct {
	loan *Loan
	pos  int64 // loan.mu guards pos
}

var errReturned = errors.New("the buffer has been returned")

func (r *loanReader) Read(p []byte) (int, error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	switch {
	case r.pos >= r.loan.size:
		return 0, io.EOF
	case r.loan.data == nil:
		return 0, errReturned
	}
	n := copy(p, r.loan.data[r.pos:])
	r.pos += int64(n)
	return n, nil
}

func (r *loanReader) Seek(offset int64, whence int) (int64, error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.loan.size
	}
	if offset < 0 {
		return 0, errors.New("seek to before the buffer")
	}
	r.pos = offset
	return offset, nil
}

// Close does nothing: a library may close a body that it will send again.
func (r *loanReader) Close() error { return nil }

package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"testing"
	"testing/iotest"

	"github.com/parfait-registry/parfait/drivers"
)

var errFull = errors.New("full")

// A shelf takes so many bytes.
type shelf struct {
	bytes.Buffer
	room int
}

func (s *shelf) Write(p []byte) (int, error) {
	if len(p) > s.room {
		return 0, errFull
	}
	s.room -= len(p)
	return s.Buffer.Write(p)
}

// A summingShelf sums what it takes.
type summingShelf struct {
	*shelf
	hash.Hash
}

var _ drivers.Summer = (*summingShelf)(nil)

func (s *summingShelf) SumWith(h hash.Hash) bool {
	s.Hash = h
	return true
}

func (s *summingShelf) Write(p []byte) (int, error) {
	s.Hash.Write(p)
	return s.shelf.Write(p)
}

// endless is a body of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// All that is read is written, and hashed once, by whoever does it. Nothing is read for a writer that has failed.
func TestIngest(t *testing.T) {
	content := bytes.Repeat([]byte("a stream of bytes. "), 5*bufferSize/16)
	for _, tt := range []struct {
		name string
		body func() io.Reader
		want int // bytes
		err  error
	}{
		{"nothing", part(content, 0), 0, nil},
		{"a byte", part(content, 1), 1, nil},
		{"less than a buffer", part(content, bufferSize-1), bufferSize - 1, nil},
		{"a buffer", part(content, bufferSize), bufferSize, nil},
		{"a byte more", part(content, bufferSize+1), bufferSize + 1, nil},
		{"several", part(content, 5*bufferSize+7), 5*bufferSize + 7, nil},
		{"more than there is room for", func() io.Reader { return endless{} }, 0, errFull},
		{"a body that breaks", func() io.Reader {
			return io.MultiReader(part(content, 3*bufferSize+7)(), iotest.ErrReader(io.ErrUnexpectedEOF))
		}, 0, io.ErrUnexpectedEOF},
	} {
		for _, sums := range []bool{false, true} {
			s := &shelf{room: 8 * bufferSize}
			w := io.Writer(s)
			if sums {
				w = &summingShelf{shelf: s}
			}
			h := sha256.New()
			n, err := ingest(w, h, tt.body())
			if !errors.Is(err, tt.err) {
				t.Errorf("%s, sums %t: got error %v, want %v", tt.name, sums, err, tt.err)
			}
			if err != nil {
				continue
			}
			sum := sha256.Sum256(content[:tt.want])
			if int(n) != tt.want || !bytes.Equal(s.Bytes(), content[:tt.want]) || !bytes.Equal(h.Sum(nil), sum[:]) {
				t.Errorf("%s, sums %t: got %d bytes, %d written, sum %x; want %d, %x", tt.name, sums, n, s.Len(), h.Sum(nil), tt.want, sum)
			}
		}
	}
}

// part is a body of the first n bytes of content.
func part(content []byte, n int) func() io.Reader {
	return func() io.Reader { return bytes.NewReader(content[:n]) }
}

package retry_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/parfait-registry/parfait/drivers/retry"
)

const content = "0123456789"

// A source hands out bodies of content. Each breaks after some bytes.
type source struct {
	breaks []int   // after how many bytes each body breaks, in turn; the others do not
	errs   []error // of each open, in turn; nil for none
	err    error   // of a body that breaks

	opened []int64 // the offsets that were asked for
	open   int     // bodies
}

func (s *source) body(off int64) (io.ReadCloser, error) {
	s.opened = append(s.opened, off)
	if n := len(s.opened); n <= len(s.errs) && s.errs[n-1] != nil {
		return nil, s.errs[n-1]
	}
	s.open++
	rest := io.Reader(strings.NewReader(content[off:]))
	if len(s.breaks) > 0 {
		rest = io.MultiReader(io.LimitReader(rest, int64(s.breaks[0])), &onceFailing{err: s.err})
		s.breaks = s.breaks[1:]
	}
	return &body{rest, s}, nil
}

// onceFailing fails, and then looks as if all had been read: nobody may look twice.
type onceFailing struct{ err error }

func (f *onceFailing) Read([]byte) (int, error) {
	err := f.err
	f.err = io.EOF
	return 0, err
}

type body struct {
	io.Reader
	s *source
}

func (b *body) Close() error {
	b.s.open--
	return nil
}

func TestReader(t *testing.T) {
	five := []error{nil, errPassing, errPassing, errPassing, errPassing, errPassing}
	for _, tt := range []struct {
		name string
		s    source
		want string
		err  error
		open int // times
	}{
		{"whole", source{}, content, nil, 1},
		{"broken before the first byte", source{breaks: []int{0}}, content, nil, 2},
		{"broken in the middle", source{breaks: []int{3}}, content, nil, 2},
		{"broken at the end", source{breaks: []int{10}}, content, nil, 2},
		{"broken again and again", source{breaks: []int{1, 1, 1, 1, 1, 1, 1, 1}}, content, nil, 9},
		{"broken without a byte", source{breaks: []int{2, 0, 0, 0, 0, 0}}, "01", errPassing, 6},
		{"not to be opened again", source{breaks: []int{4}, errs: []error{nil, errLasting}}, "0123", errLasting, 2},
		{"not to be opened for a while", source{breaks: []int{4}, errs: []error{nil, errPassing, errPassing}}, content, nil, 4},
		{"not to be opened any more", source{breaks: []int{4}, errs: five}, "0123", errPassing, 6},
		{"broken for good", source{breaks: []int{4}, err: errLasting}, "0123", errLasting, 1},
	} {
		for _, kind := range []string{"", ", byte by byte", ", with data and errors together"} {
			t.Run(tt.name+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := tt.s
					if s.err == nil {
						s.err = errPassing
					}
					wrap := func(r io.ReadCloser) io.ReadCloser {
						if kind == ", with data and errors together" {
							return struct {
								io.Reader
								io.Closer
							}{iotest.DataErrReader(r), r}
						}
						return r
					}
					open := func(off int64) (io.ReadCloser, error) {
						b, err := s.body(off)
						if err != nil {
							return nil, err
						}
						return wrap(b), nil
					}
					first, err := open(0)
					if err != nil {
						t.Fatal(err)
					}
					r := retry.NewReader(t.Context(), first, passing, open)
					from := io.Reader(r)
					if kind == ", byte by byte" {
						from = iotest.OneByteReader(r)
					}
					got, err := io.ReadAll(from)
					if string(got) != tt.want || err != tt.err || len(s.opened) != tt.open {
						t.Errorf("got %q, %v, opened at %v; want %q, %v, %d times", got, err, s.opened, tt.want, tt.err, tt.open)
					}
					if _, again := r.Read(make([]byte, 1)); tt.err != nil && again != tt.err {
						t.Errorf("read after the error: got error %v, want the same", again)
					}
					if err := r.Close(); err != nil || s.open != 0 {
						t.Errorf("close: got %v with %d bodies open", err, s.open)
					}
				})
			})
		}
	}
}

func TestReader_Cancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &source{breaks: []int{3}, err: errPassing}
		first, err := s.body(0)
		if err != nil {
			t.Fatal(err)
		}
		r := retry.NewReader(ctx, first, passing, s.body)
		if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = r.Read(make([]byte, 1))
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errPassing) || len(s.opened) != 1 {
			t.Errorf("got %v, opened at %v; want the context's error, and nothing opened after that", err, s.opened)
		}
	})
}

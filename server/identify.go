package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
)

// requestIDHeader is in the answer to each request, and in those that come with an id, of a proxy mostly.
const requestIDHeader = "X-Request-Id"

// A requestContext is the context of a request that knows its id.
type requestContext struct {
	context.Context
	id [1]string // as a header has it
}

type requestIDKey struct{}

func (c *requestContext) Value(key any) any {
	if key == (requestIDKey{}) {
		return c.id[0]
	}
	return c.Context.Value(key)
}

// RequestID returns the id of the request that ctx comes from, or "" if it comes from none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// identify gives each request an id: the one it came with, or a new one if that is none.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := wrap(w)
		c := &rw.context // which is allocated with the response
		c.Context = r.Context()
		if came := r.Header[requestIDHeader]; len(came) == 1 && isRequestID(came[0]) {
			c.id[0] = came[0]
		} else {
			c.id[0] = newRequestID()
		}
		w.Header()[requestIDHeader] = c.id[:]
		next.ServeHTTP(rw, r.WithContext(c))
	})
}

// isRequestID reports whether s is fit for a header and for a line in the log.
func isRequestID(s string) bool {
	const most = 128
	for _, b := range []byte(s) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '-', b == '_', b == '.', b == ':', b == '/', b == '+', b == '=':
		default:
			return false
		}
	}
	return s != "" && len(s) <= most
}

// newRequestID returns 128 random bits in hex. They are to be unlike others, not to be secret.
func newRequestID() string {
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64())
	var text [2 * len(raw)]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// NameRequests returns a handler of log lines that hands them to h, with the id of the request in those that come from one,
// whichever package writes them.
func NameRequests(h slog.Handler) slog.Handler { return namer{h} }

type namer struct{ slog.Handler }

func (n namer) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return n.Handler.Handle(ctx, r)
}

func (n namer) WithAttrs(attrs []slog.Attr) slog.Handler { return namer{n.Handler.WithAttrs(attrs)} }
func (n namer) WithGroup(name string) slog.Handler       { return namer{n.Handler.WithGroup(name)} }

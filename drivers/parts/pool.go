// Package parts takes the stream of an object in parts, for back ends that store large objects so: parts of one size,
// several on their way at once, in buffers that are bounded for the whole process.
//
// A driver has one [Pool], and makes a [Writer] for each object with a [Sink] that knows the back end's requests. An
// object of up to one part is stored in a single request.
//
// A writer needs a buffer for each part that it fills or that is on its way, so up to [AtOnce]+1 of them; where the
// pool has no more, it waits, and so does the client that sends. The first bytes, up to 256 KiB, need none: small
// uploads never wait for large ones. That comes on top of the bound, for each upload under way. A client that stops in
// the middle of a part keeps its buffer until its connection ends.
//
// Back ends that name or sign a part by its SHA-256 get it from package sums along with that of the whole, if the caller
// lets the writer take both (see [drivers.Summer]).
package parts

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Config has the keys of a flavor that bound the memory of uploads.
type Config struct {
	Size    int64 // bytes of a part; 0 is 16MiB
	Buffers int64 // bytes of all buffers together; 0 is 256MiB
	Copies  int64 // how often the back end's library holds each part, beside the buffer here; 0 if it does not
}

const (
	defaultSize    = 16 << 20
	defaultBuffers = 256 << 20
	minSize        = 5 << 20 // what S3 asks for
	maxSize        = 1 << 30
)

// A Pool hands out buffers of the size of a part. It is safe for concurrent use.
type Pool struct {
	size  int64
	slots *semaphore.Weighted

	mu     sync.Mutex
	idle   []buffer // mu guards idle: the one used last is at the end
	timing bool     // mu guards timing: whether drop will be called
}

type buffer struct {
	bytes []byte // with the capacity of a part
	since time.Time
}

// keepIdle is how long a buffer is kept for the next upload. Memory that the process has touched already is several
// times as fast as new memory.
const keepIdle = time.Minute

// NewPool returns a pool with all buffers free. The error names the key of the flavor that cannot be.
func NewPool(cfg Config) (*Pool, error) {
	size, buffers := cfg.Size, cfg.Buffers
	if size == 0 {
		size = defaultSize
	}
	if buffers == 0 {
		buffers = max(defaultBuffers, size*(1+cfg.Copies))
	}
	if size < minSize || size > maxSize {
		return nil, fmt.Errorf("storage_part_size: %d bytes; it has to be between 5MiB and 1GiB", size)
	}
	slots := buffers / (size * (1 + cfg.Copies))
	if slots < 1 {
		return nil, fmt.Errorf("storage_buffers: %d bytes do not hold one part of storage_part_size; %d would",
			buffers, size*(1+cfg.Copies))
	}
	return &Pool{size: size, slots: semaphore.NewWeighted(slots)}, nil
}

// PartSize is the size of a part, in bytes.
func (p *Pool) PartSize() int64 { return p.size }

// Get waits for a free buffer, in turn with others who wait, until ctx ends. The buffer is empty and takes one part.
// Who holds one must not wait for another.
func (p *Pool) Get(ctx context.Context) ([]byte, error) {
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("no buffer for a part came free (see storage_buffers): %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1].bytes
		p.idle = slices.Delete(p.idle, n-1, n)
		return b, nil
	}
	return make([]byte, 0, p.size), nil
}

// Put gives back a buffer that Get has returned.
func (p *Pool) Put(b []byte) {
	p.mu.Lock()
	p.idle = append(p.idle, buffer{b[:0], time.Now()})
	if !p.timing {
		p.timing = true
		time.AfterFunc(keepIdle, p.drop)
	}
	p.mu.Unlock()
	p.slots.Release(1)
}

// drop leaves buffers that nobody has wanted for a while to the garbage collector.
func (p *Pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := slices.IndexFunc(p.idle, func(b buffer) bool { return time.Since(b.since) < keepIdle })
	if old < 0 {
		p.idle, p.timing = nil, false
		return
	}
	p.idle = slices.Delete(p.idle, 0, old)
	time.AfterFunc(keepIdle-time.Since(p.idle[0].since), p.drop)
}

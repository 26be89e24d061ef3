// Package sums takes the SHA-256 of a stream and that of each part of it at the price of one sum. A sum spends half its
// time waiting for the round before, and what goes into the rounds is the same for both.
package sums

import (
	"crypto/fips140"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// A Pair is the hash of a stream and that of the part of it that began with the last [Pair.Cut].
type Pair struct {
	stream, part hash.Hash
	scratch      [2]state // of both
}

// NewPair returns a pair that writes to stream as well, at whose end a part begins. It returns nil where that saves
// nothing: stream is not of [crypto/sha256], the processor lacks the instructions, or only the certified module of Go
// is to take sums.
func NewPair(stream hash.Hash) *Pair {
	p := &Pair{stream: stream, part: sha256.New()}
	if !haveBlocks || fips140.Enabled() || !p.scratch[0].load(stream) {
		return nil
	}
	return p
}

// Write writes b to both hashes.
func (p *Pair) Write(b []byte) {
	if len(b) >= worth && p.load() {
		if head := -p.scratch[0].filled() & (blockSize - 1); head > 0 {
			p.each(b[:head])
			b = b[head:]
			p.load()
		}
		n := len(b) &^ (blockSize - 1)
		p.blocks(b[:n])
		b = b[n:]
	}
	p.each(b)
}

// Cut returns the sum of what was written since the cut before, and begins another part.
func (p *Pair) Cut() [sha256.Size]byte {
	var sum [sha256.Size]byte
	p.part.Sum(sum[:0])
	p.part.Reset()
	return sum
}

// each writes b to one hash after the other.
func (p *Pair) each(b []byte) {
	p.stream.Write(b)
	p.part.Write(b)
}

// load takes the states of both hashes, and reports whether they are equally far into a block.
func (p *Pair) load() bool {
	s, t := &p.scratch[0], &p.scratch[1]
	return s.load(p.stream) && t.load(p.part) && s.filled() == t.filled()
}

// blocks writes whole blocks to both hashes, neither of which has begun one. Their states are loaded.
func (p *Pair) blocks(b []byte) {
	s, t := &p.scratch[0], &p.scratch[1]
	v, w := s.words(), t.words()
	blocks(&v, &w, b)
	s.store(p.stream, v, len(b))
	t.store(p.part, w, len(b))
}

const (
	blockSize = sha256.BlockSize
	worth     = 1 << 10 // bytes that are worth the look into the hashes
)

// A state is what [crypto/sha256] says of a hash: its name, eight words, a block that is not full, and how many bytes it
// has had, all big endian.
type state [len(name) + 8*4 + blockSize + 8]byte

const name = "sha\x03"

// load takes the state of h, and reports whether it is one of SHA-256.
func (s *state) load(h hash.Hash) bool {
	a, ok := h.(encoding.BinaryAppender)
	if !ok {
		return false
	}
	b, err := a.AppendBinary(s[:0])
	return err == nil && len(b) == len(s) && string(b[:len(name)]) == name
}

// filled is how many bytes of a block have been written.
func (s *state) filled() int { return int(s.size() % blockSize) }

func (s *state) size() uint64 { return binary.BigEndian.Uint64(s[len(s)-8:]) }

// order says which of SHA-256's words, A to H, the processor's instructions want at each place.
var order = [8]int{5, 4, 1, 0, 7, 6, 3, 2}

// words returns the eight words, in the order of the instructions.
func (s *state) words() (w [8]uint32) {
	for i, n := range order {
		w[i] = binary.BigEndian.Uint32(s[len(name)+4*n:])
	}
	return w
}

// store makes w the words of h, which has had n bytes more than s says.
func (s *state) store(h hash.Hash, w [8]uint32, n int) {
	for i, n := range order {
		binary.BigEndian.PutUint32(s[len(name)+4*n:], w[i])
	}
	binary.BigEndian.PutUint64(s[len(s)-8:], s.size()+uint64(n))
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s[:]); err != nil {
		panic(err) // h has said itself that this is how its states look
	}
}

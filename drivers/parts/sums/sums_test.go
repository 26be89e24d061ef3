package sums

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"hash"
	"math/rand/v2"
	"testing"
)

// Both sums are those of crypto/sha256, wherever the stream is when the pair is made, and however it is cut up.
func TestPair(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	for range 500 {
		before := random.IntN(200)
		if random.IntN(2) == 0 {
			before &^= 63
		}
		stream, want := sha256.New(), sha256.New()
		stream.Write(data[:before])
		want.Write(data[:before])
		pair := newPair(t, stream)
		rest := data[before : before+random.IntN(64<<10)]
		for len(rest) > 0 {
			part := rest[:random.IntN(len(rest)+1)]
			rest = rest[len(part):]
			want.Write(part)
			sum := sha256.Sum256(part)
			for len(part) > 0 {
				n := random.IntN(len(part) + 1)
				pair.Write(part[:n])
				part = part[n:]
			}
			if got := pair.Cut(); got != sum {
				t.Fatalf("%d bytes before: the part has the sum %x, want %x", before, got, sum)
			}
			if got, want := stream.Sum(nil), want.Sum(nil); string(got) != string(want) {
				t.Fatalf("%d bytes before: the stream has the sum %x, want %x", before, got, want)
			}
		}
		got, _ := stream.(encoding.BinaryMarshaler).MarshalBinary()
		state, _ := want.(encoding.BinaryMarshaler).MarshalBinary()
		if string(got) != string(state) {
			t.Fatalf("%d bytes before: the stream's state is %x, want %x", before, got, state)
		}
	}
}

func TestNewPair(t *testing.T) {
	if NewPair(sha512.New()) != nil || NewPair(sha256.New224()) != nil || NewPair(md5.New()) != nil {
		t.Error("got a pair with a hash that is not SHA-256")
	}
}

func newPair(t testing.TB, stream hash.Hash) *Pair {
	t.Helper()
	pair := NewPair(stream)
	if pair == nil {
		t.Skip("this processor has no instructions for SHA-256")
	}
	return pair
}

// BenchmarkPair compares a pair with one sum, and with two that are taken one after the other.
func BenchmarkPair(b *testing.B) {
	data := make([]byte, 128<<10)
	stream, part := sha256.New(), sha256.New()
	pair := newPair(b, sha256.New())
	for _, bb := range []struct {
		name  string
		write func()
	}{
		{"one sum", func() { stream.Write(data) }},
		{"two sums", func() { stream.Write(data); part.Write(data) }},
		{"pair", func() { pair.Write(data) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				bb.write()
			}
		})
	}
}

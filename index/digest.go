package index

import (
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// The first byte of a stored digest.
const (
	sha256Prefix = 1
	sha512Prefix = 2
)

// pack turns a digest into the bytes that the database keeps: half the size, and quicker to compare. It returns nil
// for the empty digest, which becomes null.
func pack(d digest.Digest) []byte {
	if d == "" {
		return nil
	}
	prefix := byte(sha256Prefix)
	if d.Algorithm() == digest.SHA512 {
		prefix = sha512Prefix
	}
	b := make([]byte, 1, 1+len(d)/2)
	b[0] = prefix
	b, err := hex.AppendDecode(b, []byte(d.Encoded()))
	if err != nil {
		panic(fmt.Sprintf("digest %q was not validated", d)) // callers parse digests at the border
	}
	return b
}

// packAfter is pack for a place in a list: the empty digest comes before all others.
func packAfter(d digest.Digest) []byte {
	if d == "" {
		return []byte{}
	}
	return pack(d)
}

// unpack is the inverse of pack.
func unpack(b []byte) (digest.Digest, error) {
	switch {
	case len(b) == 0:
		return "", nil
	case b[0] == sha256Prefix && len(b) == 1+32:
		return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(b[1:])), nil
	case b[0] == sha512Prefix && len(b) == 1+64:
		return digest.NewDigestFromEncoded(digest.SHA512, hex.EncodeToString(b[1:])), nil
	}
	return "", fmt.Errorf("the index holds a digest that is none: %x", b)
}

package drivers

import (
	"fmt"
	"io/fs"
	"strings"
)

// The limits that every back end can keep: object stores end at 1024 bytes, file systems at 255 a component.
const (
	maxKey       = 1024 // bytes
	maxComponent = 255  // bytes
)

// ValidKey returns nil if key is one that an object may have, as [Driver] describes them, of at most 1024 bytes in
// components of at most 255. Otherwise it says what is wrong, with an error that wraps [io/fs.ErrInvalid]. Drivers
// ask it before they do anything, so that no key can reach outside the store.
func ValidKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: a key of %d bytes; at most %d are allowed", fs.ErrInvalid, len(key), maxKey)
	}
	if strings.HasSuffix(key, ".tmp") {
		return fmt.Errorf("%w: keys in .tmp are kept for objects that are being written", fs.ErrInvalid)
	}
	for component := range strings.SplitSeq(key, "/") {
		if err := validComponent(component); err != nil {
			return err
		}
	}
	return nil
}

func validComponent(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("%w: %q as a component of a key", fs.ErrInvalid, s)
	case len(s) > maxComponent:
		return fmt.Errorf("%w: a component of %d bytes; at most %d are allowed", fs.ErrInvalid, len(s), maxComponent)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: %q in a key", fs.ErrInvalid, c)
		}
	}
	return nil
}

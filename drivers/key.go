package drivers

import (
	"fmt"
	"io/fs"
	"strings"
)

// The limits that every back end can keep: object stores end at 1024 bytes, of which a quarter is left for the prefix
// that a flavor puts before all keys; file systems end at 255 a component.
const (
	maxKey       = 768 // bytes
	maxPrefix    = 256 // bytes, with the slash at its end
	maxComponent = 255 // bytes
)

// ValidKey returns nil if key is one that an object may have, as [Driver] describes them, of at most 768 bytes in
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

// Prefix turns the storage_path of a flavor into what an object store puts before each key: "/registry" is
// "registry/", and "/" or "" is nothing. It names what an object store does not keep as it is written.
func Prefix(storagePath string) (string, error) {
	path := strings.Trim(storagePath, "/")
	if path == "" {
		return "", nil
	}
	for component := range strings.SplitSeq(path, "/") {
		if err := validComponent(component); err != nil {
			return "", fmt.Errorf("storage_path %q: %w", storagePath, err)
		}
	}
	if len(path) >= maxPrefix {
		return "", fmt.Errorf("storage_path: %d bytes; at most %d are allowed", len(path), maxPrefix-1)
	}
	return path + "/", nil
}

package access

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// An Htpasswd is a file of users and hashed passwords, as the tool of that name writes it. Lines that say nothing stay
// where they are when it is changed.
type Htpasswd struct {
	lines []line
}

type line struct {
	text       string // as it stands in the file
	user, hash string // empty if text is blank or a comment
	problem    string // why nobody can log in with it; empty if somebody can
}

// ParseHtpasswd reads a file. It takes any text: [Htpasswd.Problems] says what is wrong with it.
func ParseHtpasswd(data []byte) *Htpasswd {
	h := new(Htpasswd)
	for text := range strings.Lines(string(bytes.TrimPrefix(data, []byte("\ufeff")))) {
		h.lines = append(h.lines, parseLine(strings.TrimRight(text, "\r\n")))
	}
	return h
}

func parseLine(text string) line {
	l := line{text: text}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '#' {
		return l
	}
	user, hash, ok := strings.Cut(trimmed, ":")
	if !ok || user == "" {
		l.problem = "it is not of the form user:hash"
		return l
	}
	l.user, l.hash = user, hash
	switch {
	case user == anonymous || user == loggedIn:
		l.problem = fmt.Sprintf("%q is no name for a user: it stands for several in rules", user)
	default:
		l.problem = checkHash(hash)
	}
	return l
}

// bcryptHash is the form of a hash that can be checked, with its cost. The letters are names for the same.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// maxCost bounds what one login may cost: at 18 it is half a minute.
const maxCost = 18

// checkHash says what is wrong with a hash, without telling any of it.
func checkHash(hash string) string {
	if bcryptHash.MatchString(hash) {
		if cost := costOf(hash); cost < MinCost || cost > maxCost {
			return fmt.Sprintf("its hash has the cost %d, which is not from %d to %d", cost, MinCost, maxCost)
		}
		return ""
	}
	for _, known := range []struct{ prefix, name string }{
		{"$2", "a damaged bcrypt hash"}, {"$apr1$", "MD5"}, {"$1$", "MD5"}, {"{SHA}", "SHA-1"}, {"{SSHA}", "SHA-1"},
		{"$5$", "SHA-256"}, {"$6$", "SHA-512"}, {"$y$", "yescrypt"}, {"$argon2", "Argon2"},
	} {
		if strings.HasPrefix(hash, known.prefix) {
			return "its password is stored as " + known.name + ", not as bcrypt"
		}
	}
	return "its password is stored as plain text or by crypt, not as bcrypt"
}

// costOf returns the cost of a hash of the right form.
func costOf(hash string) int { return int(hash[4]-'0')*10 + int(hash[5]-'0') }

// Problems says of each line that nobody can log in with why that is. path is the name of the file, for what to type.
func (h *Htpasswd) Problems(path string) []string {
	var all []string
	for i, l := range h.lines {
		switch {
		case l.problem == "":
		case l.user == "":
			all = append(all, fmt.Sprintf("line %d: %s", i+1, l.problem))
		default:
			all = append(all, fmt.Sprintf("line %d, user %.100q: %s; type: parfait htpasswd -B %s %.100s", i+1, l.user, l.problem, path, l.user))
		}
	}
	return all
}

// hashes returns the hash of each user who can log in. Of several lines for a user the last one counts.
func (h *Htpasswd) hashes() map[string]string {
	all := make(map[string]string)
	for _, l := range h.lines {
		if l.user == "" {
			continue
		}
		delete(all, l.user)
		if l.problem == "" {
			all[l.user] = l.hash
		}
	}
	return all
}

// Users returns how many can log in.
func (h *Htpasswd) Users() int { return len(h.hashes()) }

// CheckUser returns an error if a name cannot be that of a user.
func CheckUser(user string) error {
	switch l := parseLine(user + ":"); {
	case user == "" || l.user != user:
		return fmt.Errorf("%q is no name for a user: it is empty, begins with #, or has a colon or spaces around it", user)
	case user == anonymous || user == loggedIn:
		return errors.New(l.problem)
	case strings.ContainsAny(user, "\r\n\x00\ufeff") || len(user) > maxUser:
		return fmt.Errorf("%.40q is no name for a user: it has characters that do not show, or more than %d bytes", user, maxUser)
	}
	return nil
}

// maxUser bounds the name of a user, as Apache's tool does.
const maxUser = 255

// Set gives a user a hash, in the line that the user has, or in a new one at the end. added reports whether the user
// is new.
func (h *Htpasswd) Set(user, hash string) (added bool) {
	text := user + ":" + hash
	at := -1
	kept := h.lines[:0]
	for _, l := range h.lines {
		if l.user == user {
			if at >= 0 {
				continue
			}
			at, l = len(kept), parseLine(text)
		}
		kept = append(kept, l)
	}
	h.lines = kept
	if at < 0 {
		h.lines = append(h.lines, parseLine(text))
	}
	return at < 0
}

// Remove takes a user out, and reports whether it was there.
func (h *Htpasswd) Remove(user string) bool {
	kept := h.lines[:0]
	for _, l := range h.lines {
		if l.user != user {
			kept = append(kept, l)
		}
	}
	removed := len(kept) < len(h.lines)
	h.lines = kept
	return removed
}

// Verify reports whether a user is in the file with that password.
func (h *Htpasswd) Verify(user, password string) (known, right bool) {
	hash, known := h.hashes()[user]
	return known, known && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// Bytes returns the file.
func (h *Htpasswd) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range h.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// The costs that a password can be hashed with. Each step doubles the time that a login takes.
const (
	MinCost     = bcrypt.MinCost
	MaxCost     = 17
	DefaultCost = bcrypt.DefaultCost
)

// HashPassword hashes a password with bcrypt, as Apache writes it.
func HashPassword(password string, cost int) (string, error) {
	if cost < MinCost || cost > MaxCost {
		return "", fmt.Errorf("a cost of %d is not from %d to %d", cost, MinCost, MaxCost)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return "", errors.New("the password has more than 72 bytes, which is all that bcrypt looks at")
	}
	if err != nil {
		return "", err
	}
	return "$2y$" + strings.TrimPrefix(string(hash), "$2a$"), nil // the same by the name that Apache has for it
}

package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// passwords checks who knows the password of a user.
//
// A check costs what the hash wants it to cost. Clients send their password with each request; so that they do not wait
// that long each time, it is remembered for a while which passwords were right: in memory, as keyed hashes.
type passwords struct {
	file   *userFile
	macs   sync.Pool                          // of *mac
	proven *lru.Cache[fingerprint, time.Time] // until when
	checks singleflight.Group                 // those that run, by fingerprint
	turns  chan struct{}                      // has room for as many as may run at once

	compare func(hash, password string) bool // takes as long as the cost of hash says
}

// A fingerprint stands for a user, a password and the hash that it has to be of: it means nothing any more when the
// file has another hash.
type fingerprint [sha256.Size]byte

const (
	provenFor  = 5 * time.Minute
	provenMost = 4096
)

func openPasswords(path string, log *slog.Logger) (*passwords, error) {
	file, err := openUserFile(path, log)
	if err != nil {
		return nil, err
	}
	proven, err := lru.New[fingerprint, time.Time](provenMost)
	if err != nil {
		return nil, err
	}
	p := &passwords{file: file, proven: proven, turns: make(chan struct{}, max(1, runtime.NumCPU()/2)), compare: compare}
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	p.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, key)} }
	return p, nil
}

// check returns the mark of a password if it is that of the user, or else an error that wraps ErrCredentials. It takes
// as long for users that there are as for others.
func (p *passwords) check(ctx context.Context, user, password string) (mark string, err error) {
	users := p.file.current()
	hash, known := users.hashes[user]
	fp := p.fingerprint(user, password, hash)
	if until, ok := p.proven.Get(fp); ok && known && time.Now().Before(until) {
		return users.marks[user], nil
	}
	right, err := p.once(ctx, fp, func() bool {
		if !known {
			p.compare(dummy(users.high), password)
			return false
		}
		if p.compare(hash, password) {
			return true
		}
		for cost := costOf(hash); cost < users.high; cost++ {
			p.compare(dummy(cost), password) // with the one above, as long as one of the highest cost
		}
		return false
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("check the password of user %.100q: %w", user, err)
	case !known:
		return "", fmt.Errorf("user %.100q is unknown: %w", user, ErrCredentials)
	case !right:
		return "", fmt.Errorf("wrong password of user %.100q: %w", user, ErrCredentials)
	}
	p.proven.Add(fp, time.Now().Add(provenFor))
	return users.marks[user], nil
}

// once runs a check when it is its turn. Those who ask for the same at once share it.
func (p *passwords) once(ctx context.Context, fp fingerprint, check func() bool) (bool, error) {
	for {
		right, err, _ := p.checks.Do(string(fp[:]), func() (any, error) {
			select {
			case p.turns <- struct{}{}:
			case <-ctx.Done():
				return false, ctx.Err()
			}
			defer func() { <-p.turns }()
			return check(), nil
		})
		if err == nil || ctx.Err() != nil {
			return err == nil && right.(bool), err
		} // else the one that shared its check has left
	}
}

// A mac makes fingerprints. It is used again, since every request needs one.
type mac struct {
	hash hash.Hash
	text []byte
	sum  fingerprint
}

func (p *passwords) fingerprint(user, password, hash string) fingerprint {
	m := p.macs.Get().(*mac)
	defer p.macs.Put(m)
	m.text = m.text[:0]
	for _, s := range [...]string{user, password, hash} {
		m.text = binary.BigEndian.AppendUint32(m.text, uint32(len(s)))
		m.text = append(m.text, s...)
	}
	m.hash.Reset()
	m.hash.Write(m.text)
	clear(m.text)
	m.hash.Sum(m.sum[:0])
	return m.sum
}

func compare(hash, password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// dummy returns a hash of a cost that no password is known to have.
func dummy(cost int) string {
	return fmt.Sprintf("$2y$%02d$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE", max(cost, MinCost))
}

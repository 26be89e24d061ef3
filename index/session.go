package index

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Session is the state of an upload, between its POST and its PUT.
type Session struct {
	ID        string
	Repo      string
	Algorithm digest.Algorithm // of HashState
	Size      int64            // bytes received
	Data      []byte           // the bytes received, as long as the index holds them; not to be changed
	HashState []byte           // of the hash over the bytes received; nil before the first, and with Data
	Started   time.Time
	Parts     []string // names of the objects that hold the bytes, in order; only from SessionParts

	// Hold is of the blob that the look-up asked for beside the session.
	Hold Hold
}

// ErrConflict says that somebody else has moved a session on meanwhile.
var ErrConflict = errors.New("the upload session has moved on")

// AddSession keeps a new session. Its ID is the caller's to choose.
func (db *DB) AddSession(ctx context.Context, s Session) error {
	if db.young.add(s, time.Now()) {
		return nil
	}
	return db.note(ctx, "add-session", func(t *tx) error {
		t.insertSession(s, time.Now())
		return nil
	})
}

func (t *tx) insertSession(s Session, updated time.Time) {
	t.do("insert-session", s.ID, s.Repo, string(s.Algorithm), s.Size, s.HashState, s.Data, s.Started.UnixMilli(), updated.UnixMilli())
}

// Session looks up a session, and the blob d, which may be "", as Hold does. The error is ErrNotFound if there is no
// such session.
func (db *DB) Session(ctx context.Context, id string, d digest.Digest) (Session, error) {
	if s, ok := db.young.session(id); ok {
		return db.youngSession(ctx, s, d)
	}
	look := db.look()
	s, err := scanSession(id, db.ask(ctx, "session", id, pack(d), look.before), &look)
	if err != nil {
		return Session{}, err
	}
	s.Hold, err = db.held(ctx, d, look)
	return s, err
}

// youngSession adds to s the look at d.
func (db *DB) youngSession(ctx context.Context, s Session, d digest.Digest) (_ Session, err error) {
	if d != "" {
		s.Hold, err = db.Hold(ctx, d)
	}
	return s, err
}

// SessionParts is Session with the parts.
func (db *DB) SessionParts(ctx context.Context, id string, d digest.Digest) (Session, error) {
	if s, ok := db.young.session(id); ok {
		return db.youngSession(ctx, s, d)
	}
	var s Session
	look := db.look()
	row := db.ask(ctx, "session-parts", id, pack(d), look.before)
	parts, err := collect(row, func(row scanner) (part sql.NullString, err error) {
		s, err = scanSession(id, row, &look, &part)
		return part, err
	})
	if err == nil && len(parts) == 0 {
		err = ErrNotFound
	}
	for _, p := range parts {
		if p.Valid { // a session without parts is one row without one
			s.Parts = append(s.Parts, p.String)
		}
	}
	if err != nil {
		return Session{}, err
	}
	s.Hold, err = db.held(ctx, d, look)
	return s, err
}

func scanSession(id string, row scanner, look *look, more ...any) (Session, error) {
	s := Session{ID: id}
	var started int64
	dest := append([]any{&s.Repo, &s.Algorithm, &s.Size, &s.HashState, &s.Data, &started, &look.stored, &look.due}, more...)
	if err := row.Scan(dest...); err != nil {
		return Session{}, err
	}
	s.Started = fromMilli(started)
	return s, nil
}

// HoldBytes makes data, which is small and all that the session has received, a part of the session. It keeps data. The
// error is ErrConflict if s is not the session's state any more.
func (db *DB) HoldBytes(ctx context.Context, s Session, data []byte) error {
	if held, err := db.young.hold(s, data); held || err != nil {
		return err
	}
	size := int64(len(data))
	return db.young.ending(s, func(young bool) error {
		return db.note(ctx, "hold-bytes", func(t *tx) error {
			if young {
				row := s
				row.Data, row.Size = data, size
				t.insertSession(row, time.Now())
				return nil
			}
			return moved(t.exec("hold-bytes", s.ID, s.Size, size, data, now()))
		})
	})
}

// GrowSession adds a part that ends at size, and holds the bytes from s.Size on, after those of s.Data, which the index
// holds no more. The error is ErrConflict if s is not the session's state any more.
func (db *DB) GrowSession(ctx context.Context, s Session, part string, size int64, hashState []byte) error {
	return db.young.ending(s, func(young bool) error {
		return db.note(ctx, "grow-session", func(t *tx) error {
			if young {
				row := s
				row.Size, row.Data, row.HashState = size, nil, hashState
				t.insertSession(row, time.Now())
			} else if err := moved(t.exec("grow-session", s.ID, s.Size, size, hashState, now())); err != nil {
				return err
			}
			t.do("insert-part", s.ID, s.Size-int64(len(s.Data)), part)
			return nil
		})
	})
}

// moved is ErrConflict if no row was in the state that a statement asked for.
func moved(rows int64, err error) error {
	if err == nil && rows == 0 {
		err = ErrConflict
	}
	return err
}

// RemoveSession forgets a session. The error is ErrConflict if s is not its state any more.
func (db *DB) RemoveSession(ctx context.Context, s Session) error {
	return db.young.ending(s, func(young bool) error {
		if young {
			return nil
		}
		return db.note(ctx, "remove-session", func(t *tx) error {
			ended := t.endSession(s)
			if err := t.flush(); err != nil {
				return err
			}
			return ended()
		})
	})
}

// endSession removes s. A session without ID is none. After the next flush, ended returns ErrConflict if s was not the
// session's state any more.
func (t *tx) endSession(s Session) (ended func() error) {
	if s.ID == "" {
		return func() error { return nil }
	}
	removed := t.count("delete-session", s.ID, s.Size)
	if s.Size > int64(len(s.Data)) {
		t.do("delete-parts", s.ID)
	}
	return func() error {
		if *removed == 0 {
			return ErrConflict
		}
		return nil
	}
}

// ExpiredSessions returns up to n sessions that nothing was added to since before, oldest first, without their parts. If
// there are more, they come when these are removed.
func (db *DB) ExpiredSessions(ctx context.Context, before time.Time, n int) ([]Session, error) {
	if young := db.young.untouched(before, n); len(young) > 0 {
		return young, nil
	}
	return collect(db.ask(ctx, "expired-sessions", before.UnixMilli(), n), func(row scanner) (s Session, err error) {
		err = row.Scan(&s.ID, &s.Repo, &s.Size)
		return s, err
	})
}

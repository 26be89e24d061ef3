package index

import (
	"context"
	"slices"
	"sync"
	"time"
)

// youngSessions keeps sessions in memory until they have received more than a few bytes, so that a small upload writes
// nothing before it ends. Only an index that no other process uses can have them. A process that is killed loses them:
// their clients, who have not been told yet that anything is stored, start over. A nil *youngSessions keeps none.
type youngSessions struct {
	mu       sync.Mutex // guards what follows
	sessions map[string]youngSession
	bytes    int // of Data, in all
}

type youngSession struct {
	Session
	updated time.Time
	ending  bool // whether it is about to be none of these any more
}

// Both bounds together keep the memory below 24 MiB. Sessions that find no room go to the database.
const (
	youngMax   = 16 << 10
	youngBytes = 16 << 20
)

func newYoungSessions() *youngSessions {
	return &youngSessions{sessions: make(map[string]youngSession)}
}

// add reports whether there was room for s.
func (y *youngSessions) add(s Session, updated time.Time) bool {
	if y == nil {
		return false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.sessions) >= youngMax {
		return false
	}
	y.put(youngSession{Session: s, updated: updated})
	return true
}

// put needs y.mu.
func (y *youngSessions) put(s youngSession) {
	y.bytes += len(s.Data) - len(y.sessions[s.ID].Data)
	y.sessions[s.ID] = s
}

// remove needs y.mu.
func (y *youngSessions) remove(id string) {
	y.bytes -= len(y.sessions[id].Data)
	delete(y.sessions, id)
}

func (y *youngSessions) session(id string) (Session, bool) {
	if y == nil {
		return Session{}, false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	s, ok := y.sessions[id]
	return s.Session, ok
}

// current returns what is kept of s, if it is one of these, or ErrConflict if it has moved on or is about to. It needs
// y.mu.
func (y *youngSessions) current(s Session) (kept youngSession, young bool, err error) {
	kept, young = y.sessions[s.ID]
	if young && (kept.Size != s.Size || kept.ending) {
		err = ErrConflict
	}
	return kept, young, err
}

// hold makes data, which is all that s has received, a part of s. held is false if there was no room for it, or s is
// not one of these. The error is ErrConflict if s is not the session's state any more.
func (y *youngSessions) hold(s Session, data []byte) (held bool, err error) {
	if y == nil {
		return false, nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	kept, ok, err := y.current(s)
	if !ok || err != nil || y.bytes+len(data) > youngBytes {
		return false, err
	}
	kept.Data, kept.Size, kept.updated = data, int64(len(data)), time.Now()
	y.put(kept)
	return true, nil
}

// ending runs do and tells it whether s is one of these. It is not any more afterwards, unless do fails. The error is
// ErrConflict if s is not the session's state any more.
func (y *youngSessions) ending(s Session, do func(young bool) error) error {
	if y == nil {
		return do(false)
	}
	y.mu.Lock()
	kept, young, err := y.current(s)
	if young && err == nil {
		ending := kept
		ending.ending = true
		y.put(ending) // where it is looked up until the database has it
	}
	y.mu.Unlock()
	if err != nil {
		return err
	}
	err = do(young)
	if !young {
		return err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if err != nil {
		y.put(kept)
		return err
	}
	y.remove(s.ID)
	return nil
}

func (y *youngSessions) count() int {
	if y == nil {
		return 0
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.sessions)
}

// untouched returns up to n sessions that nothing was added to since before, oldest first.
func (y *youngSessions) untouched(before time.Time, n int) []Session {
	var sessions []Session
	for _, s := range y.all() {
		if s.updated.Before(before) && len(sessions) < n {
			sessions = append(sessions, s.Session)
		}
	}
	return sessions
}

// all returns the sessions, oldest first.
func (y *youngSessions) all() []youngSession {
	if y == nil {
		return nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	var all []youngSession
	for _, s := range y.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b youngSession) int { return a.updated.Compare(b.updated) })
	return all
}

// SaveSessions writes those sessions to the database that are in memory only, so that they outlive this process.
func (db *DB) SaveSessions(ctx context.Context) error {
	for _, s := range db.young.all() {
		err := db.young.ending(s.Session, func(young bool) error {
			if !young {
				return nil // ended meanwhile
			}
			return db.note(ctx, "save-session", func(t *tx) error {
				t.insertSession(s.Session, s.updated)
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

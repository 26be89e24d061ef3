// Package index is the metadata database: which repository has which blobs, manifests and tags, and the state of
// uploads. It knows nothing of storage drivers or HTTP.
//
// Open one with [Open] and close it. It is SQLite in a file, for one process, or PostgreSQL, for any number of them.
// Methods that look something up are one statement, on PostgreSQL one round trip; methods that change something are
// one transaction. A method that returns nil has made its change durable, save for those on upload sessions, of which no
// client has been told that anything is stored: they survive a crash of the process but not a power cut, and young ones
// in SQLite, with up to a few bytes, not even the crash. A client begins its upload again then.
//
// What nothing refers to any more is taken away by a collector: see [DB.Claim].
//
// Facts are also written to the store, in files that can be derived from the index. Each change of a fact leaves an
// [Entry] in the outbox, in the same transaction, which stays until [DB.Settle] says that the store shows it.
package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ErrNotFound says that the index has no such thing.
var ErrNotFound = errors.New("not in the index")

// ErrUnavailable says that the database does not answer, or not now. Whether a change that failed with it was made is
// not known.
var ErrUnavailable = errors.New("the database of the index is not available")

// Config says where the database is.
type Config struct {
	// Database is the path of an SQLite file, as it is or as sqlite:///relative/path or sqlite:////absolute/path, or
	// the URL of a PostgreSQL database, postgres://user:password@host:port/database, with the parameters of libpq. A
	// file and its folder are made if absent. Empty means a file in a temporary folder that goes when the index is
	// closed, fit for a store in memory.
	Database string `yaml:"index_database"`

	// OldDatabase is what a file of docker-registry names for its search, as SQLAlchemy writes it. It counts like Database
	// if that is empty and Default is not, unless it is what the files of docker-registry come with, a database in
	// memory, one of another kind, or one that docker-registry has made: these are left alone.
	OldDatabase string `yaml:"sqlalchemy_index_database"`

	// Default is the Database where neither names one.
	Default string `yaml:"-"`

	// PoolSize bounds the connections to PostgreSQL. Default 16.
	PoolSize int `yaml:"index_pool_size"`

	// Grace is how long a blob that nothing refers to is kept after somebody has asked for it, pushed it, or deleted
	// the last manifest that named it. All servers on one index need the same. Default 24h.
	Grace time.Duration `yaml:"gc_grace"`

	// Observe, if set, is called before each statement or transaction with its name. An error is returned in the
	// place of running it: counts and injected faults of tests hang here.
	Observe func(ctx context.Context, call string) error `yaml:"-"`

	// Watch, if set, is called once it is known what kind of database there is, sqlite or postgresql. What it returns is
	// told of them: measurements hang here.
	Watch func(system string) Watcher `yaml:"-"`
}

// Check looks for values that are none.
func (cfg Config) Check() error {
	if cfg.Grace < 0 {
		return fmt.Errorf("gc_grace: %v is less than nothing: give a time such as 24h", cfg.Grace)
	}
	return nil
}

// A DB is an open index. It is safe for concurrent use.
type DB struct {
	database
	place   string
	cache   *cache         // nil if other processes write to the database, too
	young   *youngSessions // nil likewise
	grace   time.Duration
	observe func(ctx context.Context, call string) error
	watcher Watcher
	fence   func() error        // nil if every change may be made
	notices func(Done) []Notice // nil if nobody is to be told of changes
	noticed chan struct{}       // has a token after something was queued
}

// Open opens the database and makes its schema or brings it up to date. An SQLite file is locked, so that a second
// process keeps off it. A file or database that is not an index of ours is refused and left as it is. It gives up on a
// PostgreSQL that does not answer within ten seconds. The error is one line, without a password.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*DB, error) {
	db := &DB{observe: cfg.Observe, watcher: noWatcher{}, grace: cmp.Or(cfg.Grace, 24*time.Hour), noticed: make(chan struct{}, 1)}
	if db.observe == nil {
		db.observe = func(context.Context, string) error { return nil }
	}
	database, key := cfg.choose(ctx, log)
	at, err := locate(database)
	db.place = at.place()
	if cfg.Watch != nil {
		db.watcher = cfg.Watch(at.system())
	}
	if err == nil && at.url != "" {
		db.database, err = openPostgres(ctx, at.url, cfg.PoolSize, log)
	} else if err == nil {
		db.young = newYoungSessions()
		if db.cache, err = newCache(); err == nil {
			db.database, err = openSQLite(ctx, at.path, db.watcher.Committed, log)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if db.Exclusive() {
		if err := db.clearLeases(ctx); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// Close waits for running transactions and closes the database.
func (db *DB) Close() error { return db.database.close() }

// Grace is how long an unreferenced blob is kept.
func (db *DB) Grace() time.Duration { return db.grace }

// Exclusive reports whether no other process can change the index.
func (db *DB) Exclusive() bool { return db.cache != nil }

// Check asks the database a question, to see that it answers.
func (db *DB) Check(ctx context.Context) error {
	_, err := db.Empty(ctx)
	return err
}

// Empty reports whether the index has no repository at all, as a new one has none.
func (db *DB) Empty(ctx context.Context) (bool, error) {
	var empty bool
	err := db.ask(ctx, "is-empty").Scan(&empty)
	return empty, err
}

// ask runs a look-up when the question is asked.
func (db *DB) ask(ctx context.Context, query string, args ...any) question {
	return func(read func(rows) error, one bool) error {
		return db.watched(ctx, Statement, query, func(ctx context.Context) error {
			return db.lookUp(ctx, statement{query: query, args: args, read: read, one: one})
		})
	}
}

// update runs do, which changes a repository, in a transaction named call, and returns the facts that do has posted. It
// is durable when update returns nil. do may run more than once.
func (db *DB) update(ctx context.Context, call, repo string, do func(*tx) error) ([]Change, error) {
	if db.fence != nil {
		if err := db.fence(); err != nil {
			return nil, err
		}
	}
	var last *tx
	var queued int
	err := db.commit(ctx, call, mode{durable: true}, func(t *tx) error {
		last = t
		err := do(t)
		if err == nil {
			queued = t.tell(db.notices)
		}
		return err
	})
	db.cache.changed(repo)
	if err != nil {
		return nil, err
	}
	db.wake(queued)
	return last.changes, nil
}

// note is update for what need not survive a power cut, and changes no repository.
func (db *DB) note(ctx context.Context, call string, do func(*tx) error) error {
	return db.commit(ctx, call, mode{}, do)
}

// commit runs do in a transaction named call.
func (db *DB) commit(ctx context.Context, call string, m mode, do func(*tx) error) error {
	return db.watched(ctx, Transaction, call, func(ctx context.Context) error { return db.transact(ctx, m, do) })
}

// now is the time in the unit of the schema.
func now() int64 { return time.Now().UnixMilli() }

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

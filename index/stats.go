package index

import (
	"context"
	"time"
)

// A Pool says how busy the connections to the database are. Those of SQLite are the ones that look up.
type Pool struct {
	Most     int // connections that there may be
	Open     int
	InUse    int
	Waits    int64         // how often somebody had to wait for one
	WaitTime time.Duration // in all
}

// Pool returns the state of the connections.
func (db *DB) Pool() Pool { return db.connections() }

func (x *sqliteIndex) connections() Pool {
	s := x.readers.Stats()
	return Pool{Most: s.MaxOpenConnections, Open: s.OpenConnections, InUse: s.InUse, Waits: s.WaitCount, WaitTime: s.WaitDuration}
}

func (p *postgresIndex) connections() Pool {
	s := p.pool.Stat()
	return Pool{Most: int(s.MaxConns()), Open: int(s.TotalConns()), InUse: int(s.AcquiredConns()), Waits: s.EmptyAcquireCount(),
		WaitTime: s.EmptyAcquireWaitTime()}
}

// A Backlog is what is under way, in all processes that use the index.
type Backlog struct {
	Sessions int // open upload sessions
	Outbox   int // facts that the store may not show yet
}

// Backlog counts what is under way.
func (db *DB) Backlog(ctx context.Context) (b Backlog, err error) {
	err = db.ask(ctx, "backlog").Scan(&b.Sessions, &b.Outbox)
	b.Sessions += db.young.count()
	return b, err
}

// Dialect is the kind of the database: sqlite or postgres.
func (db *DB) Dialect() string {
	if db.Exclusive() {
		return "sqlite"
	}
	return "postgres"
}

package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// A postgresIndex is an index in a PostgreSQL database, which other processes may use as well.
//
// Transactions are read committed: each statement sees what was committed before it. What must not change between a
// look and the commit is locked, by the row of the digest in blobs:
//
//   - keep-blob, for key share, by who needs a digest to stay where it is: a manifest that names it, a mount.
//   - hold-blob, for update, by who takes a digest away, from a repository or from the store. It waits for those who
//     keep it, and they for it.
//   - An insert or update of the row, by who counts or adds. It waits for neither of those who keep it, nor they for it.
//
// A row is locked before anything is read that it protects. The order is that of a manifest, then what it names in the
// order of digests, and then the rows of other tables: of repositories, of tags, and of manifests. Serializable
// transactions would need no locks, but fail where these wait: all pushes of images with one base layer update one row.
type postgresIndex struct {
	pool    *pgxpool.Pool
	queries map[string]string
}

const (
	defaultPoolSize = 16

	// connectLimit bounds the wait for one address of a server, and openLimit that for the first connection.
	connectLimit = 5 * time.Second
	openLimit    = 9 * time.Second

	// answerLimit bounds the wait for an answer, which includes that for locks. It is also how long others wait for a
	// process that is gone without a word.
	answerLimit = 30 * time.Second
)

// openPostgres opens the database at url with up to size connections.
func openPostgres(ctx context.Context, url string, size int, log *slog.Logger) (_ database, err error) {
	p := new(postgresIndex)
	if p.queries, err = parseQueries(queryFile, postgresDialect); err != nil {
		return nil, err
	}
	if p.pool, err = newPool(ctx, url, size); err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, log); err != nil {
		p.pool.Close()
		return nil, oneLine(err)
	}
	return p, nil
}

// newPool makes a pool that has no connection yet.
func newPool(ctx context.Context, url string, size int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		_, reason, _ := strings.Cut(err.Error(), "`: ") // without the URL, which comes first
		return nil, errors.New(reason)
	}
	if size < 0 || size > 10_000 {
		return nil, fmt.Errorf("index_pool_size: %d is no number of connections", size)
	}
	cfg.MaxConns = int32(size)
	if size == 0 {
		cfg.MaxConns = defaultPoolSize
	}
	cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = time.Hour, 10*time.Minute
	cfg.MaxConnIdleTime = 10 * time.Minute
	// A connection that has broken is found out by using it. To ask before would double the time of a look-up.
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectLimit
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "parfait"
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// prepare connects for the first time and brings the schema up to date.
func (p *postgresIndex) prepare(ctx context.Context, log *slog.Logger) error {
	first, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	conn, err := p.pool.Acquire(first)
	if err != nil {
		return err
	}
	encoding := conn.Conn().PgConn().ParameterStatus("server_encoding")
	conn.Release()
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s: make one with UTF8", encoding)
	}
	db := stdlib.OpenDBFromPool(p.pool)
	defer db.Close() // the pool stays open
	err = migrate(ctx, db, postgresDialect, log)
	if hasCode(err, codeDuplicateTable) {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	return err
}

func (p *postgresIndex) close() error {
	p.pool.Close()
	return nil
}

// lookUp tries again if it has met a connection that was broken.
func (p *postgresIndex) lookUp(ctx context.Context, statements ...statement) error {
	err := p.tryLookUp(ctx, statements)
	if _, lost := errors.AsType[*lostError](err); lost {
		return p.tryLookUp(ctx, statements)
	}
	return err
}

func (p *postgresIndex) tryLookUp(ctx context.Context, statements []statement) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if statements[0].one {
		// To break off would cost the connection.
		limited, cancel := limit(context.WithoutCancel(ctx))
		defer cancel()
		ctx = limited
	}
	_, err = p.send(ctx, conn.Conn(), statements)
	return p.explain(ctx, conn.Conn(), err)
}

func (p *postgresIndex) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	limited, cancel := limit(ctx)
	defer cancel()
	conn, err := p.pool.Acquire(limited)
	switch {
	case err == nil:
		return conn, nil
	case limited.Err() != nil:
		return nil, context.Cause(limited)
	default:
		return nil, unavailable(err)
	}
}

// limit bounds what is done with the context it returns to answerLimit.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, answerLimit, errNoAnswer)
}

// conflictTries bounds the runs of a transaction that others are in the way of.
const conflictTries = 10

// transact tries again if others were in the way, and once if it has met a connection that was broken, unless it may
// have committed before it was.
func (p *postgresIndex) transact(ctx context.Context, m mode, do func(*tx) error) error {
	lost := false
	for try := 1; ; try++ {
		err := p.try(ctx, m, do)
		e, isLost := errors.AsType[*lostError](err)
		switch {
		case hasCode(err, codeDeadlock, codeSerialization) && try < conflictTries:
			if err := backOff(ctx, try); err != nil {
				return err
			}
		case isLost && e.undone && !lost:
			lost = true
		default:
			return err
		}
	}
}

// backOff waits for some time, the longer the more tries there were.
func backOff(ctx context.Context, try int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(try, 8)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try runs do in a transaction. Begin goes with the first statements, and commit with the last.
func (p *postgresIndex) try(ctx context.Context, m mode, do func(*tx) error) error {
	pooled, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer pooled.Release() // which closes a connection that is still in a transaction
	conn := pooled.Conn()
	ctx = context.WithoutCancel(ctx) // a transaction that has begun is not cut short
	var committing bool
	t := &tx{send: func(statements []statement) error {
		ctx := ctx
		if !m.alone {
			limited, cancel := limit(ctx)
			defer cancel()
			ctx = limited
		}
		answered, err := p.send(ctx, conn, statements)
		err = p.explain(ctx, conn, err)
		if e, lost := errors.AsType[*lostError](err); lost {
			e.undone = !committing || answered == 0 && e.told
		}
		return err
	}}
	t.do("begin")
	t.do("settings", m.synchronousCommit(), m.idleLimit())
	if err = do(t); err == nil {
		committing = true
		t.do("commit")
		err = t.flush()
	}
	if err != nil && !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		limited, cancel := context.WithTimeout(ctx, connectLimit)
		defer cancel()
		_, _ = conn.Exec(limited, p.queries["rollback"]) // the server does it if this does not get there
	}
	return err
}

func (m mode) synchronousCommit() string {
	if m.durable {
		return "on"
	}
	return "off"
}

// idleLimit is how long the server waits for the next statement of a process that holds locks.
func (m mode) idleLimit() string {
	if m.alone {
		return "0" // as long as it takes
	}
	return fmt.Sprint(answerLimit.Milliseconds())
}

// send runs statements in one round trip and returns how many of them were answered.
func (p *postgresIndex) send(ctx context.Context, conn *pgx.Conn, statements []statement) (answered int, err error) {
	batch := new(pgx.Batch)
	queued := make([]statement, 0, len(statements))
	for _, s := range statements {
		text, known := p.queries[s.query]
		if !known {
			return 0, fmt.Errorf("there is no query %s", s.query)
		}
		if text != "" { // or there is nothing to do
			batch.Queue(text, clean(s.args)...)
			queued = append(queued, s)
		}
	}
	results := conn.SendBatch(ctx, batch)
	defer results.Close()
	for _, s := range queued {
		if err := answer(results, s); err != nil {
			return answered, err
		}
		answered++
	}
	return answered, results.Close()
}

// answer reads the result of s.
func answer(results pgx.BatchResults, s statement) error {
	if s.read == nil {
		tag, err := results.Exec()
		if err == nil && s.count != nil {
			*s.count = tag.RowsAffected()
		}
		return err
	}
	r, err := results.Query()
	if err != nil {
		return err
	}
	defer r.Close()
	err = s.read(r)
	r.Close()
	if r.Err() != nil {
		return r.Err()
	}
	return err
}

// clean replaces what is no text to PostgreSQL: bytes that are not UTF-8, and NUL. SQLite takes them.
func clean(args []any) []any {
	for i, arg := range args {
		if text, ok := arg.(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return args
}

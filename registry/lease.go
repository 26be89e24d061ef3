package registry

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A lease is a process's hold on a store. Two indexes of one store would drift apart, each ignorant of what is changed by
// way of the other. So one of them at a time has the store: that of one process if it is SQLite, that of any number if it
// is PostgreSQL.
//
// Who has it is in the objects parfait/leases/<number>, of which the newest counts. Only its holder writes to an object,
// again from time to time to show that it lives. Whoever takes the store makes the next one, which one of several can
// (see [drivers.PutNew]), when the holder has said that it is done or has not shown itself for the life of a lease. The
// holder does not wait for that: it stops changing anything when three quarters of that time are over, and if it comes
// round after that it has to make the next one itself.
//
// Where the back end has locks (see [drivers.Locker]), a lock says who has the store, and the holder does not have to show
// itself.
//
// The mark in the object is in the index as well. An index without it is not the one that has written to the store last:
// see [takeLease].
type lease struct {
	store drivers.Driver
	log   *slog.Logger
	life  time.Duration
	lock  io.Closer // nil where there are none
	mine  record

	began   time.Time
	renewed atomic.Int64 // when it was renewed last, in time.Duration since began
	lost    atomic.Bool  // whether somebody else has the store

	stop context.CancelFunc // ends keep
	work sync.WaitGroup
}

// leaseLife is how long a process keeps a store that it does not show itself in.
const leaseLife = time.Minute

const (
	leasePrefix = "parfait/leases/"
	lockKey     = "parfait/store.lock"
	clockPrefix = "parfait/clock."
	maxRecord   = 64 << 10 // bytes
)

// A record is what an object of a lease says.
type record struct {
	Store   string  `json:"store"`   // random; stays for as long as there is a record
	Mark    string  `json:"mark"`    // random; that of the index
	Holder  string  `json:"holder"`  // host and database, for people
	Process int     `json:"process"` // number of the process on its host
	Life    float64 `json:"life"`    // seconds
	Shared  bool    `json:"shared"`  // whether any process with the index may have the store
	Over    bool    `json:"over"`    // whether the holder is done
}

func (r record) String() string { return fmt.Sprintf("process %d on %s", r.Process, r.Holder) }

// A holding is the newest record with its number; 0 if there is none.
type holding struct {
	number int64
	record
}

func leaseKey(number int64) string { return fmt.Sprintf("%s%012d", leasePrefix, number) }

// newest reads the newest record, again if others take its place meanwhile.
func newest(ctx context.Context, store drivers.Driver) (h holding, err error) {
	for range claimTries {
		if h, err = readNewest(ctx, store); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return h, err
}

func readNewest(ctx context.Context, store drivers.Driver) (holding, error) {
	var last string
	for object, err := range store.List(ctx, leasePrefix, "") {
		if err != nil {
			return holding{}, err
		}
		last = object.Key
	}
	if last == "" {
		return holding{}, nil
	}
	var h holding
	data, err := drivers.ReadAll(ctx, store, last, maxRecord)
	if err == nil {
		h.number, err = strconv.ParseInt(strings.TrimPrefix(last, leasePrefix), 10, 64)
	}
	if err == nil {
		err = json.Unmarshal(data, &h.record)
	}
	if err != nil {
		return holding{}, fmt.Errorf("%s, which says who has the store (remove it if nobody has): %w", last, err)
	}
	return h, nil
}

// check returns an error if the process must not change anything, because somebody else may have the store.
func (l *lease) check() error {
	if l.lock != nil {
		return nil
	}
	if l.lost.Load() || time.Since(l.began)-time.Duration(l.renewed.Load()) > l.life*3/4 {
		return &Error{Code: Unavailable, Message: "this server has lost hold of its store, and changes nothing: its log says why"}
	}
	return nil
}

// keep shows several times in the life of the lease that the process lives, until ctx ends.
func (l *lease) keep(ctx context.Context) {
	if l.lock != nil {
		return
	}
	tick := time.NewTicker(l.life / 3)
	defer tick.Stop()
	for !l.lost.Load() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.renew(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("this server does not reach its store to show that it lives, and after a while of that changes nothing",
				"changes_nothing", l.check() != nil, "err", err)
		}
	}
}

// renew shows that the process lives.
func (l *lease) renew(ctx context.Context) error {
	held := l.check() == nil
	ctx, cancel := context.WithTimeout(ctx, l.life/4)
	defer cancel()
	start := time.Since(l.began)
	now, err := newest(ctx, l.store)
	if err != nil {
		return err
	}
	if now.Mark != l.mine.Mark {
		l.lost.Store(true)
		l.log.Error("another server has taken the store, with an index of its own: nothing is changed here any more; "+
			"stop one of the two, or have both use one PostgreSQL", "holder", now.record.String())
		return nil
	}
	if held {
		err = l.write(ctx, now.number, l.mine)
	} else {
		err = l.create(ctx, now.number+1) // or whoever is just about to take the store
	}
	if err != nil {
		return err
	}
	l.renewed.Store(int64(start))
	if !held {
		l.log.Info("the store is back in the hands of this server, which takes changes again")
	}
	return nil
}

// release gives the store up.
func (l *lease) release(ctx context.Context) {
	l.stop()
	l.work.Wait()
	err := l.end(ctx)
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	if err != nil {
		l.log.Warn("the store was not given up: another index has to wait until this hold on it ends", "err", err)
	}
}

// end says in the record that the process is done with the store.
func (l *lease) end(ctx context.Context) error {
	if l.mine.Shared || l.check() != nil {
		return nil
	}
	now, err := newest(ctx, l.store)
	if err != nil || now.Mark != l.mine.Mark {
		return err
	}
	over := l.mine
	over.Over = true
	return l.write(ctx, now.number, over)
}

func (l *lease) write(ctx context.Context, number int64, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return drivers.Put(ctx, l.store, leaseKey(number), data)
}

// create takes the store, and removes the records of those who had it.
func (l *lease) create(ctx context.Context, number int64) error {
	data, err := json.Marshal(l.mine)
	if err != nil {
		return err
	}
	if err := drivers.PutNew(ctx, l.store, leaseKey(number), data); err != nil {
		return err
	}
	var old []string
	for object, err := range l.store.List(ctx, leasePrefix, "") {
		if err != nil {
			return err
		}
		if object.Key < leaseKey(number) {
			old = append(old, object.Key)
		}
	}
	return drivers.DeleteAll(ctx, l.store, old...)
}

// newLease is a lease that nobody has taken yet.
func newLease(store drivers.Driver, db *index.DB, life time.Duration, log *slog.Logger) *lease {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return &lease{store: store, log: log, life: life, began: time.Now(), mine: record{
		Mark: rand.Text(), Holder: host + ", with the index " + db.Place(), Process: os.Getpid(),
		Life: life.Seconds(), Shared: !db.Exclusive(),
	}}
}

// left returns how long the record has to live, by the clock of the store alone: it may be the only one that this process
// and the holder share.
func (h holding) left(ctx context.Context, store drivers.Driver) (time.Duration, error) {
	if h.number == 0 || h.Over {
		return 0, nil
	}
	written, err := store.Stat(ctx, leaseKey(h.number))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	probe := clockPrefix + rand.Text()
	if err := drivers.StagePut(ctx, store, probe, nil); err != nil {
		return 0, err
	}
	now, err := store.Stat(ctx, probe)
	if err := errors.Join(err, drivers.Unstage(ctx, store, probe)); err != nil {
		return 0, err
	}
	return time.Duration(h.Life*float64(time.Second)) - now.ModTime.Sub(written.ModTime), nil
}

package local

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"slices"
	"sync"
	"time"
)

// A journal makes small objects durable together. The syncs of a new object's own, of its file and of two directories,
// are most of what a push of a small image waits for. Instead its bytes go to the journal, of which one sync serves all
// writers that wait for it, and its file is only staged. After a crash the next Open writes the files of all records
// again. [Driver.Sync] makes the files durable, and the records void.
//
// An object is not renamed to its key before its record is on disk, so that what a power cut makes of the file is never
// seen: the record is there to repair it.
//
// A record must not outlive its object, or a crash would bring that back: whoever has deleted or replaced an object
// calls forget before that is acknowledged.
//
// There are mostly two segments: one that takes records while those of the other are being made void. If there is no
// room, or the journal's disk fails, the object is synced by itself.
type journal struct {
	open func() (*os.File, error) // makes the file of a new segment
	sync func(*os.File) error     // makes what was written to one durable

	mu      sync.Mutex // guards what follows
	active  *segment   // takes records; nil before the first, and after one that failed
	retired []*segment // whose records are not void yet
	void    []*segment // without records
	seq     uint64     // of the newest segment
}

// A segment is a file of records, which are valid if they have the number that the file begins with. It is as long as
// it ever was: a file that need not grow is synced faster.
type segment struct {
	file *os.File
	seq  uint64
	keys map[string]struct{} // of the records
	size int64               // bytes, of records that are queued as well
	busy sync.WaitGroup      // writers that have a record and have not renamed their file yet

	queue   []*pending // records that are not written yet, in their order
	written int64      // bytes of those that are
	running bool       // whether somebody writes the queue
	failed  error      // takes no more records after it
}

// A pending record is one that a writer waits for.
type pending struct {
	bytes []byte
	done  chan error
}

const (
	// smallMax is the size in bytes of the largest object that the journal takes, and what a writer may hold of it.
	smallMax = 128 << 10

	// segmentMax bounds a segment, in bytes, and segmentKeys its records. From half of that on these are due to be
	// made void.
	segmentMax  = 64 << 20
	segmentKeys = 32 << 10

	// A segment begins with the magic and its number, or 0 while it is void.
	segmentMagic  = "parfait journal\n"
	segmentHeader = int64(len(segmentMagic) + 8)

	// A record is a checksum of the rest, the segment's number, the length of the key, that of the bytes, and both.
	recordHeader = 4 + 8 + 4 + 4
	recordMax    = recordHeader + 1024 + smallMax
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoRoom says that the journal does not take a record.
var errNoRoom = errors.New("the journal has no room")

// records holds *[recordMax]byte.
var records = sync.Pool{New: func() any { return new([recordMax]byte) }}

// newRecord begins a record for an object at key, to which its bytes are appended.
func newRecord(key string) []byte {
	buf := records.Get().(*[recordMax]byte)
	return append(buf[:recordHeader], key...)
}

// A ticket is a writer's place in the journal.
type ticket struct {
	segment *segment
	done    chan error
	full    bool // whether the journal wants a Sync
	alone   bool // whether there was no record of the key before
}

// wait returns when the record is durable.
func (t ticket) wait() error { return <-t.done }

// renamed says that the file is at its key, or never will be.
func (t ticket) renamed() { t.segment.busy.Done() }

// add takes a record that has room for its header and is not to be changed before the ticket's wait is over.
func (j *journal) add(key string, record []byte) (ticket, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active == nil {
		if err := j.activate(); err != nil {
			return ticket{}, err
		}
	}
	s := j.active
	if s.failed != nil || s.size+int64(len(record)) > segmentMax || len(s.keys) >= segmentKeys {
		return ticket{}, errNoRoom
	}
	binary.LittleEndian.PutUint64(record[4:], s.seq)
	binary.LittleEndian.PutUint32(record[12:], uint32(len(key)))
	binary.LittleEndian.PutUint32(record[16:], uint32(len(record)-recordHeader-len(key)))
	binary.LittleEndian.PutUint32(record, crc32.Checksum(record[4:], castagnoli))
	alone, full := !j.hasLocked(key), s.full()
	s.size += int64(len(record))
	s.keys[key] = struct{}{}
	s.busy.Add(1)
	p := &pending{record, make(chan error, 1)}
	s.queue = append(s.queue, p)
	if !s.running {
		s.running = true
		go j.run(s)
	}
	return ticket{s, p.done, !full && s.full(), alone}, nil
}

// activate makes a segment the one that takes records. The caller holds mu.
func (j *journal) activate() error {
	j.seq = max(j.seq+1, uint64(time.Now().UnixNano())) // also above those of processes before this one
	s := &segment{seq: j.seq, keys: make(map[string]struct{}), size: segmentHeader, written: segmentHeader}
	if n := len(j.void); n > 0 {
		s.file = j.void[n-1].file
		j.void = j.void[:n-1]
	} else {
		var err error
		if s.file, err = j.open(); err != nil {
			return err
		}
	}
	if err := writeHeader(s.file, s.seq); err != nil {
		j.void = append(j.void, s)
		return err
	}
	j.active = s
	return nil
}

func (s *segment) full() bool { return s.size >= segmentMax/2 || len(s.keys) >= segmentKeys/2 }

func writeHeader(f *os.File, seq uint64) error {
	_, err := f.WriteAt(binary.LittleEndian.AppendUint64([]byte(segmentMagic), seq), 0)
	return err
}

// run writes and syncs the queue of s until it is empty. What is queued while it syncs shares the next sync.
func (j *journal) run(s *segment) {
	for {
		j.mu.Lock()
		batch := s.queue
		s.queue = nil
		if len(batch) == 0 {
			s.running = false
			j.mu.Unlock()
			return
		}
		err := s.failed
		j.mu.Unlock()
		if err == nil {
			err = j.write(s, batch)
		}
		if err != nil {
			j.mu.Lock()
			s.failed = err
			j.mu.Unlock()
		}
		for _, p := range batch {
			p.done <- err
		}
	}
}

func (j *journal) write(s *segment, batch []*pending) error {
	for _, p := range batch {
		if _, err := s.file.WriteAt(p.bytes, s.written); err != nil {
			return err
		}
		s.written += int64(len(p.bytes))
	}
	return j.sync(s.file)
}

// has reports whether a crash would bring back what was at one of keys.
func (j *journal) has(keys ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hasLocked(keys...)
}

// hasLocked is has for a caller that holds mu.
func (j *journal) hasLocked(keys ...string) bool {
	for _, s := range j.withRecords() {
		for _, key := range keys {
			if _, ok := s.keys[key]; ok {
				return true
			}
		}
	}
	return false
}

// withRecords returns the segments whose records are not void. The caller holds mu.
func (j *journal) withRecords() []*segment {
	segments := slices.Clone(j.retired)
	if j.active != nil {
		segments = append(segments, j.active)
	}
	return segments
}

// rotate begins a new segment, and waits until the files of all records before are at their keys. It returns the
// segments whose records may be made void once these files are durable.
func (j *journal) rotate() []*segment {
	j.mu.Lock()
	if j.active != nil && len(j.active.keys) > 0 {
		j.retired = append(j.retired, j.active)
		j.active = nil
	}
	retired := j.retired
	j.mu.Unlock()
	for _, s := range retired {
		s.busy.Wait()
	}
	return retired
}

// settle makes the records of segments void, durably.
func (j *journal) settle(segments []*segment) error {
	for _, s := range segments {
		if err := writeHeader(s.file, 0); err != nil {
			return err
		}
		if err := j.sync(s.file); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.retired = j.retired[len(segments):]
	j.void = append(j.void, segments...)
	return nil
}

// files returns the files of all segments.
func (j *journal) files() (files []leftSegment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range append(j.withRecords(), j.void...) {
		files = append(files, leftSegment{s.file, s.seq})
	}
	return files
}

// forget makes sure that no crash brings back what was at keys before.
func (d *Driver) forget(ctx context.Context, keys ...string) error {
	if !d.journal.has(keys...) {
		return nil
	}
	return d.Sync(ctx)
}

package local

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const journalPrefix = "journal."

// isJournal reports whether name is that of a segment. Every process has its own, and locks them.
func isJournal(name string) bool {
	return strings.HasPrefix(name, journalPrefix) && isTemp(name) && !strings.Contains(name, "/")
}

// newSegmentFile makes a file for the journal, in the folder itself, which is durable under its name.
func (d *Driver) newSegmentFile() (*os.File, error) {
	name := journalPrefix + strconv.FormatUint(rand.Uint64(), 36) + tempSuffix
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(lockSegment(f), d.syncers.file(f), d.syncDir(".")); err != nil {
		return nil, errors.Join(err, f.Close(), d.root.Unlink(name))
	}
	return f, nil
}

// lockSegment locks f for as long as it is open. The error is [unix.EWOULDBLOCK] if another process has it.
func lockSegment(f *os.File) error {
	return call("flock", func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

// replay makes durable what is in the journals of processes that did not end well, and removes them.
func (d *Driver) replay(ctx context.Context) error {
	left, err := d.leftSegments()
	defer func() {
		for _, f := range left {
			f.Close()
		}
	}()
	if err != nil || len(left) == 0 {
		return err
	}
	slices.SortFunc(left, func(a, b leftSegment) int { return cmp.Compare(a.seq, b.seq) }) // the newest has the last word
	for _, s := range left {
		if err := d.replaySegment(ctx, s); err != nil {
			return fmt.Errorf("replay %s: %w", s.Name(), err)
		}
	}
	if err := d.Sync(ctx); err != nil {
		return err
	}
	return d.removeSegments(left)
}

// A leftSegment is one that nobody has any more.
type leftSegment struct {
	*os.File
	seq uint64
}

// leftSegments opens and locks the segments that no process has.
func (d *Driver) leftSegments() (left []leftSegment, err error) {
	entries, err := os.ReadDir(d.root.path("."))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !isJournal(e.Name()) {
			continue
		}
		f, err := d.root.OpenFile(e.Name(), os.O_RDWR, 0)
		if absent(err) {
			continue
		}
		if err != nil {
			return left, err
		}
		if err := lockSegment(f); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				continue
			}
			return left, err
		}
		left = append(left, leftSegment{f, 0})
		if left[len(left)-1].seq, err = readHeader(f); err != nil {
			return left, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return left, nil
}

// readHeader returns the number of a segment, or 0 if it is void.
func readHeader(r io.Reader) (uint64, error) {
	header := make([]byte, segmentHeader)
	_, err := io.ReadFull(r, header)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return 0, nil // was never synced, and so has no record that was
	case err != nil:
		return 0, err
	case string(header[:len(segmentMagic)]) != segmentMagic:
		return 0, nil
	}
	return binary.LittleEndian.Uint64(header[len(segmentMagic):]), nil
}

// replaySegment stages the objects of the records, up to the first that is not whole: nobody was told of that, nor of
// those behind it.
func (d *Driver) replaySegment(ctx context.Context, s leftSegment) error {
	if s.seq == 0 {
		return nil
	}
	r := bufio.NewReaderSize(s.File, 1<<20)
	for {
		key, data, err := readRecord(r, s.seq)
		if err != nil || key == "" {
			return err
		}
		if err := d.restore(ctx, key, data); err != nil {
			return err
		}
	}
}

// readRecord returns the next record of the segment seq. The key is empty if there is no more.
func readRecord(r io.Reader, seq uint64) (key string, data []byte, err error) {
	header := make([]byte, recordHeader)
	if _, err := io.ReadFull(r, header); err != nil {
		return "", nil, ended(err)
	}
	keyLen, dataLen := binary.LittleEndian.Uint32(header[12:]), binary.LittleEndian.Uint32(header[16:])
	if binary.LittleEndian.Uint64(header[4:]) != seq || uint64(keyLen)+uint64(dataLen) > recordMax {
		return "", nil, nil
	}
	body := make([]byte, keyLen+dataLen)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", nil, ended(err)
	}
	sum := crc32.Update(crc32.Checksum(header[4:], castagnoli), castagnoli, body)
	if sum != binary.LittleEndian.Uint32(header) {
		return "", nil, nil
	}
	return string(body[:keyLen]), body[keyLen:], nil
}

// ended makes no error of the end of a file.
func ended(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// restore stages an object.
func (d *Driver) restore(ctx context.Context, key string, data []byte) error {
	w, err := d.Stage(ctx, key)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit()
}

// removeSegments removes the files, whose records are not needed any more, and has them not come back.
func (d *Driver) removeSegments(segments []leftSegment) error {
	for _, s := range segments {
		if err := os.Remove(s.Name()); err != nil && !absent(err) {
			return err
		}
	}
	return d.syncDir(".")
}

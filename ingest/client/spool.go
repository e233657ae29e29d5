package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/internal/failpoint"
)

// spool is a queue in a directory: numbered segments that are only appended to,
// and a cursor that says up to where the server has confirmed. A segment that lies
// behind the cursor is removed.
//
// Commit points: a record counts once it is whole in its segment; a torn one is
// cut off at the next open. The cursor is a hint. If it is lost or old, events are
// sent again with the ids they had.
type spool struct {
	dir          string
	bytesMax     int64
	segmentBytes int64 // a segment is closed when it has grown to this
	syncEach     bool

	lock   *os.File
	cursor *os.File

	segments []*segment // oldest first; the last may be open for writing
	next     uint64     // number of the next segment
	writer   *os.File   // of the last segment, nil if none is open
	reader   *os.File   // of the first segment, nil if none is open
	offset   int64      // in the first segment: where the next peek begins
	peeked   []int64    // sizes of the records of the last peek
	bytes    int64      // of all segments
	dirty    bool       // something was written since the last sync
	buf      []byte     // for push
}

type segment struct {
	number  uint64
	size    int64
	records int // not dropped
}

const (
	segmentSuffix = ".segment"
	cursorBytes   = 20
	// segmentsPerSpool is how many segments a full spool has: space is given back
	// in steps of this part of the limit.
	segmentsPerSpool = 16
)

// openSpool opens or makes a spool. The damage it stepped over is returned besides
// the spool.
func openSpool(dir string, bytesMax int64, syncEach bool) (s *spool, damage, err error) {
	s = &spool{dir: dir, bytesMax: bytesMax, segmentBytes: max(bytesMax/segmentsPerSpool, 1), syncEach: syncEach}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make spool: %w", err)
	}
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, nil, fmt.Errorf("open spool lock: %w", err)
	}
	if err := lockFile(s.lock); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("lock spool %s: %w", dir, err), s.lock.Close())
	}
	if damage, err = s.load(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("load spool: %w", err), s.close())
	}
	return s, damage, nil
}

// load finds the segments and the cursor.
func (s *spool) load() (damage, err error) {
	if s.cursor, err = os.OpenFile(filepath.Join(s.dir, "cursor"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	number, offset := s.readCursor()
	s.next = number + 1
	numbers, err := s.numbers()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		s.next = max(s.next, n+1)
		if n < number {
			if err := os.Remove(s.path(n)); err != nil {
				return nil, err
			}
			continue
		}
		from := int64(0)
		if n == number {
			from = offset
		}
		d, err := s.loadSegment(n, from)
		if err != nil {
			return nil, err
		}
		damage = errors.Join(damage, d)
	}
	if len(s.segments) > 0 {
		s.offset = int64(len(segmentMagic))
		if s.segments[0].number == number {
			s.offset = max(s.offset, min(offset, s.segments[0].size))
		}
	}
	return damage, s.forward()
}

// loadSegment adds a segment and cuts off what is not whole.
func (s *spool) loadSegment(number uint64, from int64) (damage, err error) {
	data, err := os.ReadFile(s.path(number))
	if err != nil {
		return nil, err
	}
	end, records := scanSegment(data, from)
	if torn := int64(len(data)) - end; torn > 0 {
		failpoint.Reached(failpoint.SpoolTorn)
		damage = fmt.Errorf("%w: %d bytes at the end of segment %d are cut off", ErrSpoolDamaged, torn, number)
		if end == 0 {
			return damage, os.Remove(s.path(number))
		}
		if err := os.Truncate(s.path(number), end); err != nil {
			return damage, err
		}
	}
	s.segments = append(s.segments, &segment{number: number, size: end, records: records})
	s.bytes += end
	return damage, nil
}

func (s *spool) numbers() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if n, err := strconv.ParseUint(name, 16, 64); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

// readCursor returns segment and offset, zeros if there is no whole cursor.
func (s *spool) readCursor() (number uint64, offset int64) {
	var b [cursorBytes]byte
	if _, err := s.cursor.ReadAt(b[:], 0); err != nil {
		return 0, 0
	}
	if crc32.Checksum(b[:16], castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(b[:]), int64(binary.LittleEndian.Uint64(b[8:]))
}

func (s *spool) writeCursor() error {
	number, offset := s.next-1, int64(0)
	if len(s.segments) > 0 {
		number, offset = s.segments[0].number, s.offset
	}
	b := binary.LittleEndian.AppendUint64(nil, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := s.cursor.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write spool cursor: %w", err)
	}
	return nil
}

func (s *spool) push(event []byte) error {
	s.buf = appendRecord(s.buf[:0], event)
	size := int64(len(s.buf))
	if s.bytes+size+int64(len(segmentMagic)) > s.bytesMax {
		return ErrSpoolFull
	}
	if s.writer == nil || s.last().size >= s.segmentBytes {
		if err := s.roll(); err != nil {
			return fmt.Errorf("start spool segment: %w", err)
		}
	}
	last := s.last()
	failpoint.Hit(failpoint.ClientBeforeSpool)
	_, err := s.writer.WriteAt(s.buf, last.size)
	if err == nil && s.syncEach {
		err = s.writer.Sync()
	}
	if err != nil {
		// Half a record would hide what is written after it. If it cannot be cut
		// off, this segment ends here and the next record starts another.
		if s.writer.Truncate(last.size) != nil {
			err = errors.Join(err, s.writer.Close())
			s.writer = nil
		}
		return fmt.Errorf("append to spool: %w", err)
	}
	failpoint.Hit(failpoint.ClientAfterSpool)
	last.size += size
	last.records++
	s.bytes += size
	s.dirty = !s.syncEach
	return nil
}

func (s *spool) last() *segment { return s.segments[len(s.segments)-1] }

// roll starts a new segment.
func (s *spool) roll() error {
	if s.writer != nil {
		// What was written must be as safe as a later sync promises.
		if err := errors.Join(s.sync(), s.writer.Close()); err != nil {
			return err
		}
		s.writer = nil
	}
	number := s.next
	f, err := os.OpenFile(s.path(number), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt([]byte(segmentMagic), 0); err == nil && s.syncEach {
		err = errors.Join(f.Sync(), syncDir(s.dir))
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(s.path(number)))
	}
	s.next++
	s.writer = f
	s.segments = append(s.segments, &segment{number: number, size: int64(len(segmentMagic))})
	s.bytes += int64(len(segmentMagic))
	if len(s.segments) == 1 {
		s.offset = int64(len(segmentMagic))
	}
	return s.forward()
}

func (s *spool) peek(eventsMax, bytesMax int) ([][]byte, error) {
	s.peeked = s.peeked[:0]
	if len(s.segments) == 0 || s.segments[0].records == 0 {
		return nil, nil
	}
	first := s.segments[0]
	if s.reader == nil {
		var err error
		if s.reader, err = os.Open(s.path(first.number)); err != nil {
			return nil, s.unreadable(err)
		}
	}
	window := min(first.size-s.offset, int64(bytesMax)+int64(eventsMax)*recordHeadBytes)
	data := make([]byte, window)
	if _, err := s.reader.ReadAt(data, s.offset); err != nil {
		return nil, s.unreadable(err)
	}
	var events [][]byte
	size := 0
	for rest := data; len(events) < eventsMax; {
		payload, next, ok := nextRecord(rest)
		if size += len(payload); !ok || (size > bytesMax && len(events) > 0) {
			break
		}
		events = append(events, payload)
		s.peeked = append(s.peeked, int64(len(rest)-len(next)))
		rest = next
	}
	if len(events) == 0 {
		return nil, s.skip(errors.New("a record does not match its checksum"))
	}
	return events, nil
}

// unreadable steps over a segment that is gone or too short. Any other reason, such
// as too many open files, may pass, so nothing is given up for it.
func (s *spool) unreadable(cause error) error {
	if errors.Is(cause, fs.ErrNotExist) || errors.Is(cause, io.EOF) {
		return s.skip(cause)
	}
	return fmt.Errorf("read spool: %w", cause)
}

// skip gives up the rest of the first segment, which cannot be read. The file is
// kept under another name for a person to look at.
func (s *spool) skip(cause error) error {
	first := s.segments[0]
	lost := fmt.Errorf("%w: %d events in %d bytes of segment %d cannot be read: %w",
		ErrSpoolDamaged, first.records, first.size-s.offset, first.number, cause)
	if len(s.segments) == 1 && s.writer != nil {
		lost = errors.Join(lost, s.writer.Close())
		s.writer = nil
	}
	err := os.Rename(s.path(first.number), s.path(first.number)+".damaged")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.forget()
	return errors.Join(lost, err, s.writeCursor())
}

// forget takes the first segment off the list.
func (s *spool) forget() {
	if s.reader != nil {
		_ = s.reader.Close() // it was only read
		s.reader = nil
	}
	s.bytes -= s.segments[0].size
	s.segments = s.segments[1:]
	s.offset = int64(len(segmentMagic))
}

func (s *spool) drop(n int) error {
	for _, size := range s.peeked[:n] {
		s.offset += size
	}
	s.peeked = s.peeked[:0]
	s.segments[0].records -= n
	return errors.Join(s.forward(), s.writeCursor())
}

// forward removes segments at the front that have nothing left and are not
// written to any more.
func (s *spool) forward() error {
	for len(s.segments) > 0 && s.segments[0].records == 0 && (len(s.segments) > 1 || s.writer == nil) {
		number := s.segments[0].number
		s.forget()
		if err := os.Remove(s.path(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove sent spool segment: %w", err)
		}
	}
	return nil
}

func (s *spool) pending() (events int, bytes int64) {
	for _, g := range s.segments {
		events += g.records
	}
	return events, s.bytes
}

func (s *spool) unsynced() func() error {
	if !s.dirty || s.writer == nil {
		return nil
	}
	s.dirty = false
	writer := s.writer
	return func() error {
		err := writer.Sync()
		if errors.Is(err, os.ErrClosed) {
			err = nil // roll has synced it before it was closed
		}
		if err = errors.Join(err, syncDir(s.dir)); err != nil {
			return fmt.Errorf("sync spool: %w", err)
		}
		return nil
	}
}

// sync is unsynced for callers that serialise.
func (s *spool) sync() error {
	if f := s.unsynced(); f != nil {
		return f()
	}
	return nil
}

func (s *spool) close() error {
	err := s.sync()
	for _, f := range []*os.File{s.writer, s.reader, s.cursor, s.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// syncDir makes new names in a directory safe. Systems that cannot sync a
// directory say so with an error that means nothing here.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}

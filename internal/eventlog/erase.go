package eventlog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/minio/highwayhash"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/durable"
	"github.com/agentik-os/panda/schemas"
)

// errErasing is the reason of the short outage in which block files are written over.
var errErasing = fmt.Errorf("%w: erased records are being taken out of the log's files", schemas.ErrUnavailable)

// deletesAtOnce is how many records are deleted at once: each waits for an fsync, and
// the server's answers come in order anyway.
const deletesAtOnce = 16

// LastOf returns the position of the newest record of some subjects that is still
// there, 0 if there is none; State has the newest position, whatever became of it. Name
// the subjects: asked for the newest of ">", the server looks at the newest position
// alone, and finds nothing if that was erased.
func (l *Log) LastOf(ctx context.Context, stream string, subjects ...string) (last uint64, err error) {
	for _, subject := range subjects {
		record, ok, err := l.LastForSubject(ctx, stream, subject)
		if err != nil {
			return 0, err
		}
		if ok {
			last = max(last, record.Seq)
		}
	}
	return last, nil
}

// Find returns the positions of the records of subjects, which may hold wildcards, up
// to a position, in order. each, if not nil, is handed every one of them.
//
// Errors: schemas.ErrUnavailable, ErrNotFound (no such stream), and what each returns.
func (l *Log) Find(ctx context.Context, stream string, subjects []string, upTo uint64, each func(*Record) error) (seqs []uint64, err error) {
	// A consumer with a filter says how many match, so that the end is known without
	// a wait for what never comes.
	last, err := l.LastOf(ctx, stream, subjects...)
	if err != nil {
		return nil, err
	}
	if last == 0 || upTo == 0 {
		return nil, nil
	}
	reader, err := l.Read(ctx, ReadConfig{Stream: stream, Subjects: subjects})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	const recordsMax, bytesMax = 4096, 32 << 20
	for {
		records, err := reader.Next(ctx, recordsMax, bytesMax, l.cfg.AckTimeout)
		if err != nil {
			return nil, fmt.Errorf("find records in %s: %w", stream, err)
		}
		if len(records) == 0 {
			return nil, fmt.Errorf("find records in %s: %w: the record at %d did not come", stream, schemas.ErrUnavailable, last)
		}
		for i := range records {
			if records[i].Seq > upTo {
				return seqs, nil
			}
			seqs = append(seqs, records[i].Seq)
			if each != nil {
				if err := each(&records[i]); err != nil {
					return nil, err
				}
			}
			if records[i].Seq >= last {
				return seqs, nil
			}
		}
	}
}

// Erase removes the records at some positions of a stream, in order, and makes sure
// that their bytes are in none of its files any more. Positions that hold nothing are
// passed over, so an Erase that was cut off is completed by another. Positions are not
// used again.
//
// The server deletes a record by a mark behind it, and leaves its bytes in the block
// file until half of the block is gone; its own secure delete writes a whole block file
// for every record. So the server inside this process deletes by marks and is then
// stopped for as long as it takes to write the block files in question once, with the
// erased records as the server itself would leave them: random bytes under a mark.
// Appends fail with ErrUnavailable meanwhile. Servers of a cluster are asked for their
// secure delete, record by record, and keep copies in the journal of their consensus
// until that is compacted, which is theirs to do.
//
// Errors: schemas.ErrUnavailable; some records may be gone then.
func (l *Log) Erase(ctx context.Context, stream string, seqs []uint64) error {
	// The server inside this process deletes by marks, and what is under them is
	// written over at once for all.
	if err := l.remove(ctx, stream, seqs, l.broker == nil); err != nil || len(seqs) == 0 || l.broker == nil {
		return err
	}
	return l.scrub(ctx, &scrubbing{stream: stream, seqs: seqs, done: make(chan struct{})})
}

// Delete removes the records at some positions for want of use: as Erase does it, but the
// server is not stopped, and their bytes stay in its files until it compacts them.
//
// Errors: schemas.ErrUnavailable; some records may be gone then.
func (l *Log) Delete(ctx context.Context, stream string, seqs []uint64) error {
	return l.remove(ctx, stream, seqs, false)
}

func (l *Log) remove(ctx context.Context, stream string, seqs []uint64, secure bool) error {
	if len(seqs) == 0 {
		return nil
	}
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	remove := handle.DeleteMsg
	if secure {
		remove = handle.SecureDeleteMsg
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deletesAtOnce)
	for _, seq := range seqs {
		group.Go(func() error {
			return l.retry(groupCtx, func(ctx context.Context) error {
				err := classify(remove(ctx, seq))
				if err == nil || errors.Is(err, ErrNotFound) {
					return nil
				}
				// The server has no code of its own for a record that is gone.
				if _, get := handle.GetMsg(ctx, seq); errors.Is(classify(get), ErrNotFound) {
					return nil
				}
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("erase records of %s: %w", stream, err)
	}
	return nil
}

// scrubbing is a stream whose files are to be written over, and where. Whoever starts
// the server again does it and closes done.
type scrubbing struct {
	stream string
	seqs   []uint64 // in order
	done   chan struct{}
}

// scrub has the server started again, with the files written over in between.
func (l *Log) scrub(ctx context.Context, job *scrubbing) error {
	l.scrubMu.Lock() // one at a time
	defer l.scrubMu.Unlock()
	l.scrubbing.Store(job)
	l.outage.begin(errErasing)
	select {
	case <-job.done:
		return nil
	case <-ctx.Done():
		l.scrubbing.CompareAndSwap(job, nil)
		return fmt.Errorf("write over the files of %s: %w: %w", job.stream, schemas.ErrUnavailable, ctx.Err())
	case <-l.background.Done():
		return ErrClosed
	}
}

// run writes over what the job names. No server may run on the files.
func (s *scrubbing) run(dataDir string) error {
	dirs, err := filepath.Glob(filepath.Join(dataDir, "store", "jetstream", "*", "streams", s.stream, "msgs"))
	if err != nil {
		return fmt.Errorf("find files of %s: %w", s.stream, err)
	}
	for _, dir := range dirs {
		blocks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
		if err != nil {
			return fmt.Errorf("find files of %s: %w", s.stream, err)
		}
		slices.SortFunc(blocks, func(a, b string) int { return blockNumber(a) - blockNumber(b) })
		firsts := make([]uint64, len(blocks)+1)
		firsts[len(blocks)] = 1 << 62
		for i, path := range blocks {
			if firsts[i], err = firstIn(path); err != nil {
				return err
			}
		}
		for i, path := range blocks {
			// A block that begins with a mark of a deletion says nothing of its
			// positions; then it is looked into, and so is the one before it.
			if firsts[i] != 0 && firsts[i+1] != 0 && !anyWithin(s.seqs, firsts[i], firsts[i+1]) {
				continue
			}
			if err := s.block(dataDir, path); err != nil {
				return fmt.Errorf("write over %s: %w", path, err)
			}
		}
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// anyWithin reports whether one of the seqs lies in [from, before).
func anyWithin(seqs []uint64, from, before uint64) bool {
	i, _ := slices.BinarySearch(seqs, from)
	return i < len(seqs) && seqs[i] < before
}

// firstIn returns the position of the first record of a block file, 0 if it begins
// with a mark of a deletion or is empty.
func firstIn(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [recordHead]byte
	if _, err := io.ReadFull(f, head[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	seq := binary.LittleEndian.Uint64(head[4:])
	if seq&flagTombMark != 0 {
		return 0, nil
	}
	return seq &^ flagErased, nil
}

// block replaces a block file by one in which the records are random bytes under the
// mark of an erased record. A crash leaves the old file or the new one, and maybe a
// file beside the store that the next run replaces.
func (s *scrubbing) block(dataDir, path string) error {
	block, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	h, err := recordHasher(s.stream, path)
	if err != nil {
		return err
	}
	changed := false
	for at := 0; at < len(block); {
		seq, size, ok := record(h, block[at:])
		if !ok {
			break // the torn end: the server cuts it off
		}
		if _, found := slices.BinarySearch(s.seqs, seq); found { // with a flag it is none of them
			if err := eraseRecord(h, block[at:at+size], seq); err != nil {
				return err
			}
			changed = true
		}
		at += size
	}
	if !changed {
		return nil
	}
	temp := filepath.Join(dataDir, "erasing.blk")
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(block)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// eraseRecord fills a record as the server's own secure delete does.
func eraseRecord(h hash.Hash, b []byte, seq uint64) error {
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint64(b[4:], seq|flagErased)
	clear(b[12:recordHead])
	body := b[recordHead : len(b)-recordHash]
	if _, err := rand.Read(body); err != nil {
		return err
	}
	h.Reset()
	_, _ = h.Write(b[4:20])
	_, _ = h.Write(body)
	copy(b[len(b)-recordHash:], h.Sum(nil))
	return nil
}

// recordHasher is the hash of the records of one block file.
func recordHasher(stream, path string) (hash.Hash, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, blockNumber(path)))
	return highwayhash.New64(key[:])
}

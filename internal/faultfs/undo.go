//go:build linux

package faultfs

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	pageBytes   = 4096
	sectorBytes = 512
)

// undo is what the disk still holds of one file, where it differs from what was
// written. The zero value is a file of which all is durable.
type undo struct {
	// size is the durable size. It means something if tracked.
	size    int64
	tracked bool
	// low is the smallest size since: what lay above was truncated away, so that
	// the disk has all of it still, or none.
	low   int64
	pages map[int64]*page // by number; these differ
}

// page is the durable content of a page.
type page struct {
	old []byte // up to the durable size when it was first written; the rest is zeros
	// doomed: an fsync failed for it. The kernel takes it for clean, so that no
	// later fsync writes it.
	doomed bool
}

// track begins the notes of a file that has now size bytes.
func (u *undo) track(size int64) {
	if !u.tracked {
		u.tracked, u.size, u.low = true, size, size
	}
}

// changed reports whether there are notes.
func (u *undo) changed() bool { return u.tracked }

// write notes the pages of a range before it is overwritten. size is the file's
// size before that.
func (u *undo) write(file io.ReaderAt, size, off, length int64) error {
	u.track(size)
	if length <= 0 {
		return nil
	}
	if u.pages == nil {
		u.pages = map[int64]*page{}
	}
	for number := off / pageBytes; number <= (off+length-1)/pageBytes; number++ {
		if p := u.pages[number]; p != nil {
			p.doomed = false
			continue
		}
		p := &page{}
		if start := number * pageBytes; start < u.size {
			// A page without a note has not changed, so what is in the file is
			// what the disk has.
			p.old = make([]byte, min(pageBytes, u.size-start))
			if n, err := file.ReadAt(p.old, start); err != nil && (err != io.EOF || n < len(p.old)) {
				return fmt.Errorf("read page %d of %d: %w", number, u.size, err)
			}
		}
		u.pages[number] = p
	}
	return nil
}

// resize notes what a change of size from one to another cuts off.
func (u *undo) resize(file io.ReaderAt, from, to int64) error {
	u.track(from)
	u.low = min(u.low, to)
	if to < u.size {
		if err := u.write(file, from, to, u.size-to); err != nil {
			return err
		}
	}
	// What was only ever in memory and is cut off is gone without a trace.
	for number := range u.pages {
		if number*pageBytes >= max(to, u.size) {
			delete(u.pages, number)
		}
	}
	return nil
}

// synced says that an fsync succeeded on the file of size bytes.
func (u *undo) synced(size int64) {
	if !u.tracked {
		return
	}
	for number, p := range u.pages {
		if !p.doomed || number*pageBytes >= size {
			delete(u.pages, number)
			continue
		}
		p.old = p.old[:min(int64(len(p.old)), size-number*pageBytes)]
	}
	u.size, u.low = size, size
	if len(u.pages) == 0 {
		*u = undo{}
	}
}

// failed says that an fsync failed.
func (u *undo) failed() {
	for _, p := range u.pages {
		p.doomed = true
	}
}

// cutFile is what a power cut needs of a file.
type cutFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// cut makes of a file of size bytes what the disk has of it.
func (u *undo) cut(file cutFile, size int64, rng *rand.Rand, torn bool, loss *Loss) error {
	if !u.tracked {
		return nil
	}
	loss.Files++
	durable, target := u.size, u.size
	if torn && u.low < u.size && rng.IntN(2) == 0 {
		torn = false // the truncation did not happen, nor what came after it
	}
	if torn {
		durable = u.low
		target = tornSize(durable, size, rng)
	}
	// A tail is written from its front, or its pages in any order.
	inOrder := rng.IntN(2) == 0
	for _, number := range slices.Sorted(maps.Keys(u.pages)) {
		p, start := u.pages[number], number*pageBytes
		if start >= target {
			loss.PagesLost++
			continue
		}
		content := make([]byte, min(pageBytes, target-start))
		copy(content, p.old[:max(0, min(int64(len(p.old)), durable-start))])
		tail := start+pageBytes > durable
		switch {
		case !torn || p.doomed:
			loss.PagesLost++
		case tail && inOrder, rng.IntN(4) == 0:
			loss.PagesKept++
			continue
		case !tail && rng.IntN(3) == 0:
			loss.PagesKept++
			loss.PagesTorn++
			sectors := content[:sectorBytes*(1+rng.IntN(pageBytes/sectorBytes-1))]
			if n, err := file.ReadAt(sectors, start); n < len(sectors) {
				return fmt.Errorf("read sectors of page %d: %w", number, err)
			}
		case rng.IntN(2) == 0:
			loss.PagesKept++
			continue
		default:
			loss.PagesLost++
		}
		if _, err := file.WriteAt(content, start); err != nil {
			return err
		}
	}
	loss.BytesCut += max(0, size-target)
	return file.Truncate(target)
}

// tornSize chooses the size that the disk knows of a file that grew.
func tornSize(durable, size int64, rng *rand.Rand) int64 {
	if size <= durable {
		return size
	}
	switch rng.IntN(4) {
	case 0:
		return durable
	case 1:
		return size
	case 2: // the last page whole
		return min(size, (durable+rng.Int64N(size-durable)+pageBytes-1)/pageBytes*pageBytes)
	default: // in the middle of a page
		return durable + rng.Int64N(size-durable)
	}
}

//go:build linux

package faultfs

import (
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// journal is the changes of names that a power cut may undo, in order. volume.ns
// guards it.
type journal struct {
	volume *volume
	ops    []*change
	first  time.Time // when the oldest was made
	trash  int       // directory of what was unlinked and is not yet for good
	next   int
}

// change is one change of names.
type change struct {
	dirs   []*node // the directories whose entries it changes
	made   *node   // what it created
	undo   func() error
	gone   *node  // what lost a name
	buried string // where in the trash it is
	isDir  bool
}

// add notes a change that has been made. The nodes stay until it is durable.
func (j *journal) add(c *change) {
	j.age()
	if len(j.ops) == 0 {
		j.first = time.Now()
	}
	for _, d := range c.dirs {
		d.refs++
	}
	if c.made != nil {
		c.made.fresh = true
		c.made.refs++
	}
	if c.gone != nil {
		c.gone.refs++
		c.gone.trashed++
	}
	j.ops = append(j.ops, c)
}

// age commits what is old, as a journal does by itself.
func (j *journal) age() {
	if cfg := j.volume.fs.cfg; cfg.Mode == Journaled && len(j.ops) > 0 && time.Since(j.first) >= cfg.CommitEvery {
		j.commitAll()
	}
}

// bury moves an entry to the trash and returns its name there.
func (j *journal) bury(dir *node, base string) (string, error) {
	j.next++
	buried := strconv.Itoa(j.next)
	return buried, unix.Renameat(dir.fd, base, j.trash, buried)
}

// exhume puts an entry back.
func (j *journal) exhume(buried string, dir *node, base string) error {
	return unix.Renameat(j.trash, buried, dir.fd, base)
}

// synced says that a file or directory was fsynced.
func (j *journal) synced(n *node) {
	if j.volume.fs.cfg.Mode == Journaled {
		j.commitAll()
		return
	}
	if n.mode&unix.S_IFMT == unix.S_IFDIR {
		j.commitDir(n)
	}
	for n.fresh && len(n.names) > 0 {
		n = n.names[0].dir
		j.commitDir(n)
	}
}

func (j *journal) commitAll() {
	ops := j.ops
	j.ops = nil
	for _, c := range ops {
		j.commit(c)
	}
}

// commitDir makes the changes of a directory durable, and those that must have
// happened before them. Walking backwards, each change that is taken adds its
// directories to the ones that count for older ones.
func (j *journal) commitDir(dir *node) {
	count := map[*node]bool{dir: true}
	durable := make([]bool, len(j.ops))
	for i := len(j.ops) - 1; i >= 0; i-- {
		for _, d := range j.ops[i].dirs {
			durable[i] = durable[i] || count[d]
		}
		if durable[i] {
			for _, d := range j.ops[i].dirs {
				count[d] = true
			}
		}
	}
	var now, later []*change
	for i, c := range j.ops {
		if durable[i] {
			now = append(now, c)
		} else {
			later = append(later, c)
		}
	}
	j.ops = later
	for _, c := range now {
		j.commit(c)
	}
}

// commit makes one change durable: what it unlinked is gone.
func (j *journal) commit(c *change) {
	if c.gone != nil {
		flags := 0
		if c.isDir {
			flags = unix.AT_REMOVEDIR
		}
		// What is left in the trash is removed with it at the end.
		_ = unix.Unlinkat(j.trash, c.buried, flags)
		c.gone.trashed--
		c.gone.refs--
		j.volume.free(c.gone)
		j.volume.drop(c.gone)
	}
	if c.made != nil {
		c.made.fresh = false
		c.made.refs--
		j.volume.drop(c.made)
	}
	for _, d := range c.dirs {
		d.refs--
		j.volume.drop(d)
	}
}

// cut undoes what a power cut undoes, newest first.
func (j *journal) cut(rng *rand.Rand, torn bool, loss *Loss) error {
	keep := 0
	if j.volume.fs.cfg.Mode == Journaled {
		j.age()
		keep = len(j.ops)
		if torn {
			keep = rng.IntN(len(j.ops) + 1)
		}
	}
	for i := len(j.ops) - 1; i >= keep; i-- {
		if err := j.ops[i].undo(); err != nil {
			return err
		}
		loss.NamesUndone++
	}
	return nil
}

// removeAll removes an entry and what is below it.
func removeAll(dir *node, base string) error { return os.RemoveAll(self(dir.fd) + "/" + base) }

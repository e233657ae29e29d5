//go:build linux

package faultfs

import (
	"math/rand/v2"
	"os"
	"slices"
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
	what   string  // for reports
	dirs   []*node // the directories whose entries it changes
	node   *node   // what got another name
	made   bool    // it was created by that
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
	if c.node != nil {
		c.node.fresh = c.node.fresh || c.made
		c.node.refs++
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
		j.commitFirst(len(j.ops))
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

// synced says that a file or directory was fsynced. resized says that its size
// was not what the disk had.
func (j *journal) synced(n *node, resized bool) {
	if j.volume.fs.cfg.Mode == Strict {
		j.syncedStrict(n)
		return
	}
	// A new size is a record of its own at the end of the journal. Otherwise it is
	// written up to the last one that has to do with the file.
	upTo := len(j.ops)
	for ; !resized && upTo > 0 && !j.ops[upTo-1].touches(n); upTo-- {
	}
	j.commitFirst(upTo)
}

func (j *journal) syncedStrict(n *node) {
	if n.mode&unix.S_IFMT == unix.S_IFDIR {
		j.commitDir(n)
	}
	for n.fresh && len(n.names) > 0 {
		n = n.names[0].dir
		j.commitDir(n)
	}
}

// touches reports whether a change is one of a file's or a directory's own.
func (c *change) touches(n *node) bool {
	return c.node == n || c.gone == n || slices.Contains(c.dirs, n)
}

func (j *journal) commitFirst(count int) {
	ops := j.ops[:count]
	j.ops = slices.Clone(j.ops[count:])
	j.first = time.Now()
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
	if c.node != nil {
		c.node.fresh = c.node.fresh && !c.made
		c.node.refs--
		j.volume.drop(c.node)
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
		loss.Names = append(loss.Names, j.ops[i].what)
	}
	return nil
}

// removeAll removes an entry and what is below it.
func removeAll(dir *node, base string) error { return os.RemoveAll(self(dir.fd) + "/" + base) }

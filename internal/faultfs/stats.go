//go:build linux

package faultfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
)

type counters struct {
	ops, writes, bytes, reads, syncs, dirSyncs, failed, cuts atomic.Int64
	loss                                                     atomic.Pointer[Loss]
}

// Stats are counts since New, for reports.
type Stats struct {
	Ops          int64 // operations that hooks see
	Reads        int64
	Writes       int64
	BytesWritten int64
	Syncs        int64 // successful fsyncs of files, also by O_SYNC writes
	DirSyncs     int64
	SyncsFailed  int64 // by FailSync
	FullRefusals int64 // writes that Capacity refused or shortened
	Cuts         int64
	LastCut      Loss
	// Now, of the mount there is.
	UsedBytes     int64 // as Capacity counts
	FilesUnsynced int
	PagesUnsynced int
	NamesUnsynced int
}

// Stats returns the counts.
func (f *FS) Stats() Stats {
	c := &f.count
	s := Stats{
		Ops: c.ops.Load(), Reads: c.reads.Load(), Writes: c.writes.Load(), BytesWritten: c.bytes.Load(), Syncs: c.syncs.Load(),
		DirSyncs: c.dirSyncs.Load(), SyncsFailed: c.failed.Load(), FullRefusals: f.faults.full.Load(), Cuts: c.cuts.Load(),
	}
	if loss := c.loss.Load(); loss != nil {
		s.LastCut = *loss
	}
	if vol, err := f.current(); err == nil {
		s.UsedBytes = vol.used.Load()
		s.FilesUnsynced, s.PagesUnsynced, s.NamesUnsynced = vol.unsynced()
	}
	return s
}

func (v *volume) unsynced() (files, pages, names int) {
	v.ns.Lock()
	defer v.ns.Unlock()
	for _, n := range v.byKey {
		n.mu.Lock()
		if n.undo.changed() {
			files, pages = files+1, pages+len(n.undo.pages)
		}
		n.mu.Unlock()
	}
	return files, pages, len(v.journal.ops)
}

// process returns the process that a thread belongs to. The kernel names the
// thread that made a call.
func process(tid int) int {
	if tid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return tid
	}
	_, rest, ok := bytes.Cut(text, []byte("\nTgid:\t"))
	if !ok {
		return tid
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if pid, err := strconv.Atoi(string(line)); err == nil {
		return pid
	}
	return tid
}

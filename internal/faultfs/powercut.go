//go:build linux

package faultfs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"
)

// powerCut ends the mount and leaves in the backing directory what a disk holds.
func (v *volume) powerCut(rng *rand.Rand, cut Cut) (Loss, error) {
	v.gate.Lock()
	defer v.gate.Unlock()
	if v.dead {
		return Loss{}, ErrNotMounted
	}
	defer v.end()
	var loss Loss
	var failed error
	// In the order of their names, so that a seed decides the same each time.
	// Content goes first: what was unlinked may come back with its own.
	var changed []*node
	paths := map[*node]string{}
	for _, n := range v.byKey {
		// A file without a name is nowhere after the cut.
		if n.undo.changed() && v.links(n)+n.trashed > 0 {
			changed = append(changed, n)
			paths[n] = v.path(n)
		}
	}
	slices.SortFunc(changed, func(a, b *node) int {
		return cmp.Or(cmp.Compare(paths[a], paths[b]), cmp.Compare(a.id, b.id))
	})
	for _, n := range changed {
		if err := v.cutFile(n, rng, cut.Torn, &loss); err != nil {
			failed = errors.Join(failed, fmt.Errorf("undo %s: %w", paths[n], err))
		}
	}
	if err := v.journal.cut(rng, cut.Torn, &loss); err != nil {
		failed = errors.Join(failed, fmt.Errorf("undo names: %w", err))
	}
	return loss, failed
}

func (v *volume) cutFile(n *node, rng *rand.Rand, torn bool, loss *Loss) error {
	fd, err := unix.Open(self(n.fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	size, err := backing(fd).size()
	if err != nil {
		return err
	}
	return n.undo.cut(backing(fd), size, rng, torn, loss)
}

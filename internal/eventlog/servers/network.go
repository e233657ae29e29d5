package servers

import (
	"context"
	"slices"
	"time"
)

// Partition cuts every link between ends that are not in one of the groups
// together. An end that is in several is a bridge between them; one that is in
// none is not touched. What was cut before stays cut.
func (c *Cluster) Partition(groups ...[]int) {
	together := func(a, b int) bool {
		named := [2]bool{}
		for _, g := range groups {
			hasA, hasB := slices.Contains(g, a), slices.Contains(g, b)
			if hasA && hasB {
				return true
			}
			named[0], named[1] = named[0] || hasA, named[1] || hasB
		}
		return !named[0] || !named[1]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, link := range c.links {
		if !together(d.from, d.to) {
			link.set(true, true)
		}
	}
}

// Bridge leaves server middle connected to both others, which do not reach each
// other.
func (c *Cluster) Bridge(middle int) {
	first, second := (middle+1)%Size, (middle+2)%Size
	c.Partition([]int{middle, first}, []int{middle, second})
}

// Mute cuts one direction: what end from sends to end to does not arrive, what to
// sends to from does.
func (c *Cluster) Mute(from, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if link := c.links[direction{from, to}]; link != nil {
		link.set(true, link.isCut(&link.back))
	}
	if link := c.links[direction{to, from}]; link != nil {
		link.set(link.isCut(&link.out), true)
	}
}

func (l *Link) isCut(g *gate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return g.cut
}

// Heal mends every cut. What was held back arrives now.
func (c *Cluster) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, link := range c.links {
		link.set(false, false)
	}
}

// Flap cuts all links of an end for half of every period and mends them for the
// other half, until ctx ends; then they are whole. Every second cut also ends the
// connections, so that both kinds of failure happen.
func (c *Cluster) Flap(ctx context.Context, end int, period time.Duration) {
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for n := 0; ; n++ {
		c.mu.Lock()
		for d, link := range c.links {
			if d.from != end && d.to != end {
				continue
			}
			cut := n%2 == 0 && ctx.Err() == nil
			link.set(cut, cut)
			if n%4 == 2 {
				link.reset()
			}
		}
		c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

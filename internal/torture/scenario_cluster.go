package torture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/eventlog/servers"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// A clusterFault is one thing that happens to a Cluster under load.
type clusterFault struct {
	name string
	// short is whether the small form has it.
	short bool
	// gapMax is what is promised about the longest time without an acknowledgement,
	// 0 if nothing is.
	gapMax time.Duration
	inject func(*Cluster, context.Context, *Round) error
}

// gapMax is the promise for a leader of the log that is gone: the others elect
// another one in 4 to 9 seconds.
const gapMax = 10 * time.Second

func clusterFaults() []clusterFault {
	return []clusterFault{
		{"log leader killed", true, gapMax, (*Cluster).leaderKilled},
		{"log leader stopped", true, gapMax, (*Cluster).leaderStopped},
		{"log leader cut off", true, 0, (*Cluster).leaderCutOff},
		{"smaller side cut off, a panda on it", false, 0, (*Cluster).minority},
		{"bridge", false, 0, (*Cluster).bridge},
		{"links of the log leader flap", false, 0, (*Cluster).flap},
		{"log server wiped", false, 0, (*Cluster).wipe},
		{"log servers restarted in turn", false, 0, (*Cluster).rolling},
		{"all log servers killed at once", false, 0, (*Cluster).allKilled},
		{"writer killed between rows and commit", false, 0, (*Cluster).writerKilled},
		{"zombie that inserts", false, 0, func(c *Cluster, ctx context.Context, r *Round) error {
			return c.zombie(ctx, r, failpoint.WriterJudged)
		}},
		{"zombie that commits", true, 0, func(c *Cluster, ctx context.Context, r *Round) error {
			return c.zombie(ctx, r, failpoint.WriterLeaseChecked)
		}},
	}
}

// ClusterFaults is the log as three servers and two pandas that contend for the writer's
// lease over one ClickHouse. Both roll up all the time.
func ClusterFaults() Scenario {
	s := Scenario{
		Name:  "cluster",
		About: "three log servers and two pandas: leaders killed, stopped, cut off, wiped; zombie writers (--set fault=…)",
		Run:   cluster,
	}
	for _, f := range clusterFaults() {
		s.Faults = append(s.Faults, f.name)
	}
	return s
}

func cluster(ctx context.Context, r *Round) error {
	c, err := NewCluster(ctx, r)
	if err != nil {
		return err
	}
	faults := clusterFaults()
	r.Rng.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
	only := r.Option("fault", "")
	for _, f := range faults {
		if only != "" && f.name != only || only == "" && r.Short && !f.short {
			continue
		}
		if err := c.suffer(ctx, r, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for i, node := range c.Nodes {
		if err := c.check(ctx, r, node); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	r.At("compares the copies of the log")
	copied, err := c.Logs.SameCopies(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	r.Measure("USAGE on each of three servers", "%s", copied)
	return nil
}

// suffer puts one fault into a loaded cluster and mends it. Then it checks
// everything at one of the nodes; both are checked after all faults, and in the
// small form only then.
func (c *Cluster) suffer(ctx context.Context, r *Round, f clusterFault) error {
	r.At("%s", f.name)
	c.arena.Load(ctx)
	const enough = 20
	if err := c.progress(ctx, enough); err != nil {
		return err
	}
	c.Acks.begin()
	if err := errors.Join(f.inject(c, ctx, r), c.progress(ctx, enough)); err != nil {
		return errors.Join(err, c.arena.Rest())
	}
	r.Fault(f.name)
	gap := c.Acks.end()
	r.Measure("longest time without an acknowledgement: "+f.name, "%s", gap.Round(time.Millisecond))
	if f.gapMax > 0 && gap > f.gapMax && !r.Short {
		return errors.Join(fmt.Errorf("nothing was acknowledged for %s, promised is %s", gap, f.gapMax), c.arena.Rest())
	}
	if err := c.Logs.Current(ctx, schemas.StreamUsage); err != nil {
		return errors.Join(err, c.arena.Rest())
	}
	if err := c.arena.Rest(); err != nil {
		return err
	}
	if r.Short {
		return nil
	}
	return c.check(ctx, r, c.Nodes[r.Rng.IntN(nodesMax)])
}

// check holds a node against the books.
func (c *Cluster) check(ctx context.Context, r *Round, node *Panda) error {
	r.At("checks at %s", node.cfg.Name)
	checking, cancel := context.WithTimeout(ctx, checkMax)
	defer cancel()
	v, err := Check(checking, node, c.arena.Tenants...)
	return errors.Join(r.Judge(v), err)
}

func (c *Cluster) leaderKilled(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	c.Logs.Kill(leader)
	return errors.Join(c.progress(ctx, 50), c.Logs.Start(leader))
}

func (c *Cluster) leaderStopped(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	if err := c.Logs.Pause(leader); err != nil {
		return err
	}
	d := 30 * time.Second
	if r.Short {
		d = 6 * time.Second
	}
	rest(ctx, d)
	return errors.Join(c.progress(ctx, 50), c.Logs.Resume(leader))
}

// leaderCutOff leaves the leader alone; both pandas reach it and the others.
func (c *Cluster) leaderCutOff(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	defer c.Logs.Heal()
	c.Logs.Partition([]int{leader}, []int{(leader + 1) % servers.Size, (leader + 2) % servers.Size})
	if _, err := c.Logs.Leader(ctx, schemas.StreamUsage, leader); err != nil {
		return err
	}
	return c.progress(ctx, 100)
}

// minority cuts one server and one panda off from everybody else. That panda can
// acknowledge nothing, and must not count what the others do not.
func (c *Cluster) minority(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	alone := r.Rng.IntN(nodesMax)
	defer c.Logs.Heal()
	lost := (leader + r.Rng.IntN(servers.Size)) % servers.Size
	c.Logs.Partition([]int{lost, c.Places[alone]},
		[]int{(lost + 1) % servers.Size, (lost + 2) % servers.Size, c.Places[1-alone]})
	const leaseOver = 12 * time.Second // the panda may be the writer, with a lease of 10
	rest(ctx, leaseOver)
	return c.progress(ctx, 50)
}

func (c *Cluster) bridge(ctx context.Context, r *Round) error {
	defer c.Logs.Heal()
	c.Logs.Bridge(r.Rng.IntN(servers.Size))
	rest(ctx, 10*time.Second)
	return c.progress(ctx, 50)
}

func (c *Cluster) flap(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	flapping, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c.Logs.Flap(flapping, leader, time.Second)
	return c.progress(ctx, 50)
}

func (c *Cluster) wipe(ctx context.Context, r *Round) error {
	leader, err := c.Logs.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		return err
	}
	return c.Logs.Wipe(ctx, (leader+1+r.Rng.IntN(servers.Size-1))%servers.Size, schemas.StreamUsage)
}

func (c *Cluster) rolling(ctx context.Context, r *Round) error {
	for i := range servers.Size {
		if err := c.Logs.Restart(ctx, i, schemas.StreamUsage); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) allKilled(ctx context.Context, r *Round) error {
	c.Logs.KillAll()
	for i := range servers.Size {
		if err := c.Logs.Start(i); err != nil {
			return err
		}
	}
	return nil
}

// lone ends both pandas, so that the lease is free, and starts one with a failpoint:
// it becomes the writer.
func (c *Cluster) lone(ctx context.Context, r *Round, points string) (node, other *Panda, err error) {
	i := r.Rng.IntN(nodesMax)
	ending, cancel := context.WithTimeout(ctx, reachMax)
	defer cancel()
	for _, n := range c.Nodes {
		if _, err := n.Drain(ending); err != nil {
			return nil, nil, err
		}
	}
	node, other = c.Nodes[i], c.Nodes[1-i]
	node.Failpoints(points)
	return node, other, node.Start(ctx)
}

// writerKilled ends the writer with its rows in the tables and no commit; the other
// panda goes on from the ledger.
func (c *Cluster) writerKilled(ctx context.Context, r *Round) error {
	node, other, err := c.lone(ctx, r, string(failpoint.WriterBeforeCommit)+":kill:3")
	if err != nil && !errors.Is(err, ErrEnded) {
		return err
	}
	select {
	case <-node.Exited():
	case <-time.After(reachMax):
		return fmt.Errorf("no writer reached %s within %s", failpoint.WriterBeforeCommit, reachMax)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := other.Start(ctx); err != nil {
		return err
	}
	if err := c.takenOver(ctx, other); err != nil {
		return err
	}
	return node.Start(ctx)
}

// zombie stops the writer at a point for so long that the other panda has taken
// over and committed, and lets it go on: what it writes then must change nothing.
func (c *Cluster) zombie(ctx context.Context, r *Round, p failpoint.Point) error {
	node, other, err := c.lone(ctx, r, string(p)+":stop:3")
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, reachMax)
	defer cancel()
	if err := node.await(waiting, "stop at "+string(p), func() (bool, error) { return stopped(node.PID()), nil }); err != nil {
		return err
	}
	if err := other.Start(ctx); err != nil {
		return err
	}
	if err := c.takenOver(ctx, other); err != nil {
		return err
	}
	return node.Continue()
}

// takenOver waits until a panda has committed something that was sent after now.
func (c *Cluster) takenOver(ctx context.Context, p *Panda) error {
	if err := c.progress(ctx, 20); err != nil {
		return err
	}
	before, err := p.API("").Positions(ctx)
	if err != nil {
		return err
	}
	return p.await(ctx, "commit after the takeover", func() (bool, error) {
		at, err := p.API("").Positions(ctx)
		return err == nil && at.Ledger >= before.Log, err
	})
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
)

// The faults of Failpoints.
const (
	faultAtPoint = "server killed at a crash point"
	faultZombie  = "server stopped before a commit until its lease ran out"
)

// Failpoints kills the server once at every crash point, and stops it at one until
// somebody else may write.
func Failpoints() Scenario {
	return Scenario{
		Name: "failpoints", About: "kill -9 at every named crash point, restart, go on; every one must be hit",
		Faults: []string{faultAtPoint, faultZombie, "client killed at a failpoint", "spool torn"},
		Run:    failpoints,
	}
}

// reachMax is how long it may take until a point is passed, on a machine that is
// busy with other things.
const reachMax = 150 * time.Second

func failpoints(ctx context.Context, r *Round) error {
	cfg := ArenaConfig{Recorders: 1, Panda: PandaConfig{Env: []string{"PANDA_FAILPOINT_SCHEDULE=@every 2s"}}}
	if r.Short {
		cfg.EventsMax, cfg.Pause = shortEventsMax, shortPause
	}
	a, err := NewArena(ctx, r, cfg)
	if err != nil {
		return err
	}
	a.Load(ctx)
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	var points []failpoint.Info
	for _, i := range failpoint.Points() {
		if i.Crash() && i.In == failpoint.InPanda {
			points = append(points, i)
		}
	}
	r.Rng.Shuffle(len(points), func(i, k int) { points[i], points[k] = points[k], points[i] })
	if err := a.Panda.Kill(); err != nil {
		return err
	}
	for i := range points {
		r.At("%d of %d: %s", i+1, len(points), points[i].Point)
		if err := a.dieAt(ctx, &points[i]); err != nil {
			return fmt.Errorf("at %s: %w", points[i].Point, err)
		}
	}
	r.At("stops before a commit")
	if err := a.zombie(ctx, failpoint.WriterBeforeCommit); err != nil {
		return err
	}
	if !r.Short {
		if err := a.zombie(ctx, failpoint.WriterLeaseChecked); err != nil {
			return err
		}
	}
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	return errors.Join(a.EndWell(ctx, checkMax), r.allHit())
}

// dieAt starts the server, which is not running, and waits until it has died at a
// point.
func (a *Arena) dieAt(ctx context.Context, i *failpoint.Info) error {
	// A pass at a later time finds more under way; where a process passes once, it
	// has to be the first.
	pass := 1
	switch i.Point {
	case failpoint.GatewayBeforeAppend, failpoint.GatewayAfterAppend, failpoint.WriterJudged, failpoint.WriterRowsWritten,
		failpoint.WriterKeysWritten, failpoint.WriterRejectsWritten, failpoint.WriterBeforeCommit,
		failpoint.WriterLeaseChecked, failpoint.WriterCommitted:
		pass += a.Round.Rng.IntN(3)
	}
	a.Panda.Failpoints(fmt.Sprintf("%s:kill:%d", i.Point, pass))
	if err := a.Panda.Start(ctx); err != nil && !errors.Is(err, ErrEnded) {
		return err
	}
	if i.Point == failpoint.ControlBeforeAppend || i.Point == failpoint.ControlAfterAppend {
		return a.dieAtControl(ctx, i)
	}
	if slices.Contains(movePoints(), i.Point) {
		return a.dieAtMove(ctx, i)
	}
	return a.awaitDeath(ctx, i)
}

func (a *Arena) awaitDeath(ctx context.Context, i *failpoint.Info) error {
	died, err := a.Await(ctx, reachMax)
	if err == nil && !died {
		err = fmt.Errorf("it was not passed within %s", reachMax)
	}
	if err != nil {
		return err
	}
	hits, err := a.Round.Hits()
	if err == nil && (hits[string(i.Point)] == 0 || !a.Panda.Killed()) {
		err = fmt.Errorf("the server died elsewhere: %s", a.Panda.LastWords())
	}
	a.Round.Killed(faultAtPoint)
	return err
}

// dieAtControl makes a tenant meanwhile. Before its record nothing has happened,
// after it the tenant stands; either way the one who asks again gets it, once.
func (a *Arena) dieAtControl(ctx context.Context, i *failpoint.Info) error {
	slug := "made-at-" + strings.ReplaceAll(string(i.Point), "_", "-")
	ctx, cancel := context.WithTimeout(ctx, reachMax)
	defer cancel()
	type made struct {
		t   *Tenant
		err error
	}
	answer := make(chan made, 1)
	go func() {
		t, err := a.Panda.MakeTenant(ctx, slug, "s"+slug)
		answer <- made{t, err}
	}()
	if err := a.awaitDeath(ctx, i); err != nil {
		return err
	}
	if err := a.Panda.Start(ctx); err != nil {
		return err
	}
	m := <-answer
	if m.err != nil {
		return m.err
	}
	var list struct {
		Items []struct{ ID, Slug string }
	}
	if err := a.Panda.API("").Ask(ctx, "GET", "/v1/tenants?limit=100", nil, &list); err != nil {
		return err
	}
	n := 0
	for _, t := range list.Items {
		if t.Slug == slug {
			n++
		}
	}
	if n != 1 {
		err := fmt.Errorf("%w: there are %d tenants %s: %+v", ErrFound, n, slug, list)
		a.Round.Found(err)
		return err
	}
	return a.Panda.Kill()
}

// zombie stops the server at a point for longer than its lease lasts, and lets it
// go on: it must not commit then, or commit what anybody else would.
func (a *Arena) zombie(ctx context.Context, p failpoint.Point) error {
	if a.Panda.Running() {
		if err := a.Panda.Kill(); err != nil {
			return err
		}
	}
	a.Panda.Failpoints(fmt.Sprintf("%s:stop:2", p))
	if err := a.Panda.Start(ctx); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, reachMax)
	defer cancel()
	if err := a.Panda.await(waiting, "stop at "+string(p), func() (bool, error) { return stopped(a.Panda.PID()), nil }); err != nil {
		return err
	}
	a.Round.Fault(faultZombie)
	const leaseOver = 11 * time.Second // the writer's lease is of 10
	rest(ctx, leaseOver)
	if err := a.Panda.Continue(); err != nil || p != failpoint.WriterBeforeCommit {
		return err
	}
	return a.Panda.await(waiting, "lease that is found lost", func() (bool, error) {
		hits, err := a.Round.Hits()
		return hits[string(failpoint.LeaseLostBeforeWrite)] > 0, err
	})
}

// stopped reports whether a process is stopped.
func stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(after, "T")
}

// allHit says which crash points no process of the round has passed: a round that
// was not at one has not tested it.
func (r *Round) allHit() error {
	hits, err := r.Hits()
	if err != nil {
		return err
	}
	var missed []string
	for _, i := range failpoint.Points() {
		if i.Crash() && i.In != failpoint.InErasure && hits[string(i.Point)] == 0 {
			missed = append(missed, string(i.Point))
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("these crash points were not passed: %s", strings.Join(missed, ", "))
	}
	return nil
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The names of faults that several scenarios inject.
const (
	faultServerKilled  = "server killed (SIGKILL)"
	faultEngineKilled  = "engine killed (SIGKILL)"
	faultServerStopped = "server stopped (SIGSTOP)"
	faultEngineStopped = "engine stopped (SIGSTOP)"
	faultDrained       = "server drained (SIGTERM)"
)

// The load of a round that is short: enough that something is always on its way,
// and few enough that the check at the end takes seconds.
const (
	shortEventsMax = 25
	shortPause     = 30 * time.Millisecond
)

// Kills ends the server and its engine at random moments, under load.
func Kills() Scenario {
	return Scenario{
		Name: "kills", About: "kill -9 of server and engine at random moments under load, drains in between", Weight: 2,
		Faults: []string{faultServerKilled, faultEngineKilled, faultServerStopped, faultDrained,
			"client killed at a failpoint", "spool torn"},
		Run: kills,
	}
}

// Shards is Kills with the tenants in shards of their own.
func Shards() Scenario {
	s := Kills()
	s.Name, s.About, s.Weight = "shards", "the same as kills, with usage split over three shards", 1
	s.Run = func(ctx context.Context, r *Round) error { return killed(ctx, r, 3) }
	return s
}

func kills(ctx context.Context, r *Round) error { return killed(ctx, r, 1) }

// killed is a round of kills with some shards.
func killed(ctx context.Context, r *Round, shards uint32) error {
	cfg := ArenaConfig{Recorders: 1, Panda: PandaConfig{Shards: shards}}
	if r.Short {
		cfg.EventsMax, cfg.Pause = shortEventsMax, shortPause
	}
	a, err := NewArena(ctx, r, cfg)
	if err != nil {
		return err
	}
	a.Load(ctx)
	faults := 30
	if r.Short {
		faults = 8
	}
	for i := range faults {
		r.At("fault %d of %d", i+1, faults)
		if err := a.moment(ctx); err != nil {
			return err
		}
		if err := a.anyKill(ctx, i); err != nil {
			return fmt.Errorf("fault %d: %w", i+1, err)
		}
	}
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	return a.EndWell(ctx, checkMax)
}

// moment waits for a moment of a fault: while the server is coming up, or some time
// after it counts.
func (a *Arena) moment(ctx context.Context) error {
	if a.Round.Rng.IntN(3) > 0 {
		if err := a.Panda.WaitReady(ctx); err != nil {
			return a.reason(err)
		}
		rest(ctx, time.Duration(a.Round.Rng.Int64N(int64(1500*time.Millisecond))))
	}
	return a.Progress(ctx, a.Round.Rng.Int64N(30))
}

// anyKill injects one of the faults that are over at once: the first four are one
// of each kind.
func (a *Arena) anyKill(ctx context.Context, i int) error {
	kind := i
	if i > 3 {
		kind = [10]int{0, 0, 0, 0, 0, 1, 1, 1, 2, 3}[a.Round.Rng.IntN(10)]
	}
	switch kind {
	case 0:
		return a.KillServer(ctx)
	case 1:
		_, err := a.Panda.KillEngine(ctx, syscall.SIGKILL)
		a.Round.Killed(faultEngineKilled)
		return a.reason(err)
	case 2:
		return a.DrainServer(ctx)
	default:
		return a.PauseServer(ctx, time.Duration(a.Round.Rng.Int64N(int64(2*time.Second))))
	}
}

// KillServer ends the server as a crash would, and starts it again.
func (a *Arena) KillServer(ctx context.Context) error {
	a.Round.Killed(faultServerKilled)
	if err := a.Panda.Kill(); err != nil {
		return err
	}
	return a.reason(a.Panda.Start(ctx))
}

// DrainServer tells the server to end, which it must do well, and starts it again.
func (a *Arena) DrainServer(ctx context.Context) error {
	a.Round.Fault(faultDrained)
	code, err := a.Panda.Drain(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("%w: a drained server ended with %d: %s", ErrFound, code, a.Panda.LastWords())
		a.Round.Found(err)
	}
	if _, statErr := os.Stat(filepath.Join(a.Panda.Data(), "server.json")); err == nil && !os.IsNotExist(statErr) {
		err = fmt.Errorf("%w: a drained server left its server.json", ErrFound)
		a.Round.Found(err)
	}
	return errors.Join(err, a.reason(a.Panda.Start(ctx)))
}

// PauseServer stops the server for a while; its engine goes on.
func (a *Arena) PauseServer(ctx context.Context, d time.Duration) error {
	a.Round.Fault(faultServerStopped)
	if err := a.Panda.Stop(); err != nil {
		return err
	}
	rest(ctx, d)
	return a.Panda.Continue()
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The faults of Engine.
const (
	faultEngineSegv    = "engine crashed (SIGSEGV)"
	faultEngineMemory  = "engine out of memory (address space limited)"
	faultEngineStarved = "engine with little memory (512 MiB)"
)

// Engine takes the engine away from the server in every way a process can be taken
// away. Acknowledgements must go on: they need the log alone.
func Engine() Scenario {
	return Scenario{
		Name: "engine", About: "the engine killed, crashed, stopped for a minute, out of memory; acknowledgements go on",
		Faults: []string{faultEngineKilled, faultEngineSegv, faultEngineStopped, faultEngineMemory, faultEngineStarved},
		Run:    engine,
	}
}

func engine(ctx context.Context, r *Round) error {
	cfg := ArenaConfig{}
	if r.Seed%2 == 0 || r.Short {
		cfg.Panda.Flags = []string{"--engine-memory", strconv.Itoa(512 << 20)}
		r.Fault(faultEngineStarved)
	}
	a, err := NewArena(ctx, r, cfg)
	if err != nil {
		return err
	}
	a.Load(ctx)
	stopFor := time.Minute
	times := 5
	if r.Short {
		stopFor, times = 4*time.Second, 1
	}
	faults := []func(context.Context) error{
		func(ctx context.Context) error { return a.EngineGone(ctx, syscall.SIGKILL, faultEngineKilled) },
		func(ctx context.Context) error { return a.EngineGone(ctx, syscall.SIGSEGV, faultEngineSegv) },
		a.EngineStarved,
	}
	var todo []func(context.Context) error
	for range times {
		todo = append(todo, faults...)
	}
	todo = append(todo, func(ctx context.Context) error { return a.EngineStopped(ctx, stopFor) })
	r.Rng.Shuffle(len(todo), func(i, k int) { todo[i], todo[k] = todo[k], todo[i] })
	for i, fault := range todo {
		if err := a.reason(a.Panda.WaitReady(ctx)); err != nil {
			return err
		}
		if err := a.Progress(ctx, 10+r.Rng.Int64N(60)); err != nil {
			return err
		}
		r.At("fault %d of %d", i+1, len(todo))
		if err := fault(ctx); err != nil {
			return err
		}
	}
	if err := a.reason(a.Panda.WaitReady(ctx)); err != nil {
		return err
	}
	return a.EndWell(ctx, checkMax)
}

// EngineGone ends the engine with a signal, and waits for another one while events
// are acknowledged.
func (a *Arena) EngineGone(ctx context.Context, s syscall.Signal, fault string) error {
	began := time.Now()
	gone, err := a.Panda.KillEngine(ctx, s)
	if err != nil {
		return err
	}
	a.Round.Killed(fault)
	return a.engineBack(ctx, gone, began, fault)
}

// engineBack waits until acknowledgements have gone on and another engine answers.
func (a *Arena) engineBack(ctx context.Context, gone int, began time.Time, fault string) error {
	if err := a.Progress(ctx, 10); err != nil {
		return err
	}
	if _, err := a.Panda.WaitEngine(ctx, gone); err != nil {
		return a.reason(err)
	}
	err := a.Panda.await(ctx, "engine that answers", func() (bool, error) {
		_, err := a.Panda.sqlOnce(ctx, "SELECT 1")
		return err == nil, nil
	})
	if err == nil {
		a.Round.Measure("answers again after: "+fault, "%s", time.Since(began).Round(time.Millisecond))
	}
	return a.reason(err)
}

// EngineStopped stops the engine, and every one that takes its place as soon as it
// answers, until some time has passed. Events are acknowledged all the while.
func (a *Arena) EngineStopped(ctx context.Context, d time.Duration) error {
	for began := time.Now(); time.Since(began) < d; {
		stopped := time.Now()
		pid, err := a.Panda.KillEngine(ctx, syscall.SIGSTOP)
		if err != nil {
			return a.reason(err)
		}
		a.Round.Killed(faultEngineStopped)
		if err := a.engineBack(ctx, pid, stopped, faultEngineStopped); err != nil {
			return err
		}
	}
	return nil
}

// EngineStarved takes the engine's memory away: what it has is all it gets. It may
// refuse statements or die; nothing may be lost with either. After a while it gets
// memory again.
func (a *Arena) EngineStarved(ctx context.Context) error {
	pid, err := a.Panda.WaitEngine(ctx, 0)
	if err != nil {
		return a.reason(err)
	}
	const spare, starvedFor = 1 << 20, 3 * time.Second
	size, err := addressSpace(pid)
	if err != nil {
		return nil //nolint:nilerr // it has just died by itself, of the fault before
	}
	var before unix.Rlimit
	limit := unix.Rlimit{Cur: size + spare, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &limit, &before); err != nil {
		return fmt.Errorf("limit the engine's memory: %w", err)
	}
	a.Round.Fault(faultEngineMemory)
	began := time.Now()
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	rest(ctx, starvedFor-time.Since(began))
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &before, nil); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("give the engine its memory back: %w", err)
	}
	return a.engineBack(ctx, 0, time.Now(), faultEngineMemory)
}

// addressSpace returns how much a process has mapped, in bytes.
func addressSpace(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	pages, err := strconv.ParseUint(first, 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/eventlog/runtime"
)

// An Arena is a panda with two tenants under load, and readers that look at both.
// Scenarios put faults into it.
type Arena struct {
	Round   *Round
	Panda   *Panda
	Tenants []*Tenant

	loaders   []*Loader
	recorders []*Recorder
	readers   []*Reader
	now       time.Time
	loading   context.Context // ends with Rest, or with the first thing that goes wrong
	stop      context.CancelFunc
	group     *errgroup.Group
	publish   []*runtime.Publisher
}

// ArenaConfig says who loads an Arena. The zero value takes the usual load.
type ArenaConfig struct {
	Panda PandaConfig
	// HTTP and NATS are loaders per tenant; 0 takes one of each, below 0 is none.
	HTTP, NATS int
	// Recorders are processes with ingest/client and a spool, for the first tenant.
	Recorders int
	// Readers look meanwhile; 0 takes four, below 0 is none.
	Readers int
	// EventsMax bounds the new events of a batch; 0 takes the loader's default.
	EventsMax int
	// Pause is waited between batches of a loader; 0 takes 5 ms, which leaves the
	// machine to the faults, below 0 is none.
	Pause time.Duration
}

func orDefault[T int | time.Duration](n, otherwise T) T {
	switch {
	case n == 0:
		return otherwise
	case n < 0:
		return 0
	}
	return n
}

// NewArena starts a panda with two tenants. Loading begins with Load.
func NewArena(ctx context.Context, r *Round, cfg ArenaConfig) (*Arena, error) {
	a := &Arena{Round: r, now: time.Now()}
	r.At("starts panda")
	var err error
	if a.Panda, err = r.Panda(cfg.Panda); err != nil {
		return nil, err
	}
	if err := a.Panda.Start(ctx); err != nil {
		return nil, err
	}
	for _, slug := range []string{"acme-corp", "globex"} {
		t, err := r.Tenant(ctx, a.Panda, slug)
		if err != nil {
			return nil, err
		}
		a.Tenants = append(a.Tenants, t)
	}
	if err := a.senders(cfg); err != nil {
		return nil, err
	}
	r.OnEnd(func() error {
		for _, p := range a.publish {
			p.Close()
		}
		return nil
	})
	return a, nil
}

func (a *Arena) senders(cfg ArenaConfig) error {
	r := a.Round
	for _, t := range a.Tenants {
		for i := range orDefault(cfg.HTTP, 1) {
			a.loader(t, fmt.Sprint("http-", i), &HTTPSender{Panda: a.Panda, Key: t.Key, Gzip: i%2 == 1}, cfg)
		}
		for i := range orDefault(cfg.NATS, 1) {
			p, err := runtime.Connect(a.Panda.NATS, t.ID, t.Key)
			if err != nil {
				return err
			}
			a.publish = append(a.publish, p)
			a.loader(t, fmt.Sprint("nats-", i), &NATSSender{Publisher: p, IDs: i%2 == 0}, cfg)
		}
	}
	for i := range cfg.Recorders {
		rec, err := newRecorder(r, a.Panda, a.Tenants[0], fmt.Sprint("spool-", i), a.now)
		if err != nil {
			return err
		}
		a.recorders = append(a.recorders, rec)
	}
	for range orDefault(cfg.Readers, 4) {
		a.readers = append(a.readers, &Reader{Panda: a.Panda, Tenants: a.Tenants, Rng: a.rng()})
	}
	r.mu.Lock()
	r.answers = func() (n int64) {
		for _, reader := range a.readers {
			n += reader.Answers()
		}
		return n
	}
	r.mu.Unlock()
	return nil
}

// rng returns a source of chance of its own: goroutines do not share one.
func (a *Arena) rng() *rand.Rand { return rand.New(rand.NewPCG(a.Round.Seed, a.Round.Rng.Uint64())) }

func (a *Arena) loader(t *Tenant, name string, send Sender, cfg ArenaConfig) {
	a.loaders = append(a.loaders, &Loader{Name: name, Tenant: t, Rng: a.rng(), Send: send, Now: a.now,
		EventsMax: cfg.EventsMax, Pause: orDefault(cfg.Pause, 5*time.Millisecond)})
}

// Load begins to load and to look.
func (a *Arena) Load(ctx context.Context) {
	running, stop := context.WithCancel(ctx)
	a.stop = stop
	a.group, a.loading = errgroup.WithContext(running)
	for _, l := range a.loaders {
		a.group.Go(func() error { return l.Run(a.loading) })
	}
	for _, rec := range a.recorders {
		a.group.Go(func() error { return rec.Run(a.loading) })
	}
	for _, reader := range a.readers {
		a.group.Go(func() error { return reader.Run(a.loading) })
	}
	a.group.Go(func() error { return a.watch(a.loading) })
}

// watch looks whether the panda still counts. One that found an invariant broken
// goes on taking events in, so nothing else would show it before the end.
func (a *Arena) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if a.Round.haltAllowed() {
			continue
		}
		if why := a.Panda.API("").Halted(ctx); why != "" {
			return fmt.Errorf("%w: %s: %s", ErrFound, why, a.Panda.LastWords())
		}
	}
}

// Loading ends when something went wrong with the load or a reader found
// something; what, Rest returns.
func (a *Arena) Loading() context.Context { return a.loading }

// Acked returns how many batches were acknowledged.
func (a *Arena) Acked() (n int64) {
	for _, l := range a.loaders {
		n += l.Acked()
	}
	return n
}

// ackMax is how long a panda that runs may acknowledge nothing, or too little, on a
// machine that is busy with other things.
const ackMax = 30 * time.Second

// Progress waits until so many more batches are acknowledged by a panda that runs.
func (a *Arena) Progress(ctx context.Context, more int64) error {
	goal := a.Acked() + more
	ctx, cancel := context.WithTimeout(ctx, ackMax)
	defer cancel()
	defer context.AfterFunc(a.loading, cancel)()
	err := a.Panda.await(ctx, "acknowledgements", func() (bool, error) { return a.Acked() >= goal, nil })
	return a.reason(err)
}

// reason prefers what ended the load over that it ended.
func (a *Arena) reason(err error) error {
	if err == nil || a.loading.Err() == nil {
		return err
	}
	return a.Rest()
}

// Await waits until the panda has ended by itself, as at a failpoint. It reports
// false when that takes longer than the limit.
func (a *Arena) Await(ctx context.Context, limit time.Duration) (bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.Panda.Exited():
		return true, nil
	case <-timer.C:
		return false, nil
	case <-a.loading.Done():
		return false, a.Rest()
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Rest stops loading and looking, and returns what went wrong with it. What is on
// its way stays unknown.
func (a *Arena) Rest() error {
	a.stop()
	err := a.group.Wait()
	if errors.Is(err, ErrFound) {
		a.Round.Found(err)
	}
	return err
}

// End stops loading, starts the panda if it does not run, and checks everything.
// How what it found is judged is for the caller.
func (a *Arena) End(ctx context.Context, checkMax time.Duration) (*Verdict, error) {
	if err := a.Rest(); err != nil {
		return &Verdict{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkMax)
	defer cancel()
	if !a.Panda.Running() {
		if err := a.Panda.Start(ctx); err != nil {
			return &Verdict{}, err
		}
	}
	a.Round.At("sends what is spooled")
	for _, rec := range a.recorders {
		if err := rec.Finish(ctx); err != nil {
			return &Verdict{}, err
		}
	}
	// Counting that halts meanwhile would be waited for until the end.
	checking, halted := context.WithCancelCause(ctx)
	defer halted(nil)
	go func() {
		if err := a.watch(checking); err != nil {
			halted(err)
		}
	}()
	v, err := check(checking, a.Panda, func(step string) { a.Round.At("%s", step) }, a.Tenants)
	if why := context.Cause(checking); err != nil && errors.Is(why, ErrFound) {
		a.Round.Found(why)
		err = why
	}
	return v, err
}

// EndWell is End for a round in which nothing may be wrong.
func (a *Arena) EndWell(ctx context.Context, checkMax time.Duration) error {
	v, err := a.End(ctx, checkMax)
	return errors.Join(a.Round.Judge(v), err)
}

// checkMax is how long a check of a usual round may take, with what is still to be
// counted: a writer that was kept from its work for minutes has millions of events
// before it, and looks up each that is taken back.
const checkMax = 6 * time.Minute

package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// Config is what a Pusher needs to know.
type Config struct {
	// Key is the secret key, best a restricted one. Its prefix says the mode.
	Key Secret
	// Account tells keys of several Stripe accounts apart. It may be empty.
	Account string
	// URL of the API; empty is Stripe's own.
	URL string
	// Transport carries requests; nil is the network.
	Transport http.RoundTripper
	// PerSecond bounds requests; 0 is 20, below the 25 that Stripe takes on an endpoint.
	PerSecond int
	// Timeout bounds one request. Default 30 s.
	Timeout time.Duration
	// Quiet is how long after its last sending a request can still take effect. Default 10
	// minutes: a request that its sender gave up waits in no queue that long.
	Quiet time.Duration
	// Patience is how long Push tries to reach Stripe before it leaves the rest to the
	// next call. Default 20 minutes, which is more than Quiet.
	Patience time.Duration
	// Collection is charge_automatically (default) or send_invoice, with DaysUntilDue.
	Collection   string
	DaysUntilDue int
	// Collect lets Stripe collect the finalized invoice by itself; otherwise somebody
	// has to ask for the payment.
	Collect bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// keyAge is how old a key may be when it is sent. Stripe keeps keys for 24 hours at
// least; an hour is for clocks and slow networks.
const keyAge = 23 * time.Hour

// Lease lets one pusher at a time work on a bill; see rollup.Lease.
type Lease interface {
	// Hold takes the lease of that name, or returns an error that matches
	// schemas.ErrConflict while another holds it. held ends when the lease is lost.
	Hold(ctx context.Context, name string) (held context.Context, release func(), err error)
}

// Pusher puts bills on invoices. It is safe for use by several goroutines.
type Pusher struct {
	cfg    Config
	mode   Mode
	client *client
	store  Store
	lease  Lease
}

// NewPusher returns a Pusher. An error is one of the configuration.
func NewPusher(cfg Config, store Store, lease Lease) (*Pusher, error) {
	mode, err := cfg.Key.Mode()
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Quiet <= 0 {
		cfg.Quiet = 10 * time.Minute
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 2 * cfg.Quiet
	}
	if cfg.Collection == "" {
		cfg.Collection = "charge_automatically"
	}
	if cfg.Collection != "charge_automatically" && (cfg.Collection != "send_invoice" || cfg.DaysUntilDue <= 0) {
		return nil, schemas.Invalid("/stripe/collection", schemas.CodeUnknown,
			"collection is charge_automatically, or send_invoice with days until due, not %q with %d", cfg.Collection, cfg.DaysUntilDue)
	}
	if cfg.Quiet < 2*cfg.Timeout {
		return nil, schemas.Invalid("/stripe/quiet", schemas.CodeOutOfRange, "quiet is %s and must be twice the timeout of %s at least", cfg.Quiet, cfg.Timeout)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Pusher{cfg: cfg, mode: mode, client: newClient(cfg), store: store, lease: lease}, nil
}

// Mode says whether this is test or live.
func (p *Pusher) Mode() Mode { return p.mode }

// Push brings a bill on, as far as it goes: to done (or placed), to attention, or until
// Stripe does not answer. Calling it again goes on where it stopped, and a bill that is
// done stays so.
//
// Errors: schemas.ErrInvalid for a bill that cannot be charged; schemas.ErrConflict while
// another pusher works on it, or if another statement was pushed for the month;
// schemas.ErrUnavailable to call again later; ErrDenied.
func (p *Pusher) Push(ctx context.Context, bill Bill) (Push, error) {
	if err := bill.check(); err != nil {
		return Push{}, fmt.Errorf("push %s of %s: %w", bill.Month, bill.Tenant, err)
	}
	bill = bill.collapsed()
	ref := bill.ref(p.mode)
	return p.hold(ctx, ref, func(ctx context.Context) (*Push, error) {
		rec, err := load(ctx, p.store, ref)
		switch {
		case errors.Is(err, eventlog.ErrNotFound):
			now := p.cfg.Now().UTC()
			rec = &Push{Ref: ref, Bill: bill, State: Drafting, Began: now, Changed: now}
			if len(bill.Lines) == 0 {
				rec.State, rec.Detail = Done, "nothing is owed: no invoice was made"
			}
			if err := save(ctx, p.store, rec); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case rec.Bill.Checksum != bill.Checksum || rec.Bill.Total != bill.Total || rec.Bill.Invoice != bill.Invoice:
			return rec, fmt.Errorf("%w: statement %s (%s) is on its way for %s; a later one needs another sequence",
				schemas.ErrConflict, rec.Bill.Statement, rec.Bill.Checksum, ref)
		}
		return rec, p.work(ctx, rec)
	})
}

// Resume goes on with a bill that needed attention, after a person has looked at it. What
// was refused is sent again under a new key, and only if it is not on the invoice.
func (p *Pusher) Resume(ctx context.Context, ref string) (Push, error) {
	return p.hold(ctx, ref, func(ctx context.Context) (*Push, error) {
		rec, err := load(ctx, p.store, ref)
		if err != nil || rec.State != Attention {
			return rec, err
		}
		rec.Reason, rec.Detail, rec.State = "", "", Adding
		if rec.Invoice == "" {
			rec.State = Drafting
		}
		for _, e := range append([]*Entry{rec.Create, rec.Finalize}, rec.Lines...) {
			if e != nil && e.State == Refused {
				e.State, e.LastSent = Stored, p.cfg.Now().UTC()
			}
		}
		return rec, p.work(ctx, rec)
	})
}

// Status returns the record of a bill, or eventlog.ErrNotFound.
func (p *Pusher) Status(ctx context.Context, ref string) (Push, error) {
	rec, err := load(ctx, p.store, ref)
	if err != nil {
		return Push{}, err
	}
	return *rec, nil
}

// List returns the records of this mode in the order of their refs.
func (p *Pusher) List(ctx context.Context) ([]Push, error) {
	refs, err := p.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list pushes: %w", err)
	}
	slices.Sort(refs)
	var list []Push
	for _, ref := range refs {
		if !strings.HasPrefix(ref, string(p.mode)+".") {
			continue
		}
		rec, err := load(ctx, p.store, ref)
		if err != nil {
			return nil, err
		}
		list = append(list, *rec)
	}
	return list, nil
}

// Ref is the name under which a bill is stored and which its invoice carries.
func (p *Pusher) Ref(bill Bill) string { return bill.ref(p.mode) }

// hold works on a bill under its lease.
func (p *Pusher) hold(ctx context.Context, ref string, f func(context.Context) (*Push, error)) (Push, error) {
	held, release, err := p.lease.Hold(ctx, "stripe-"+strings.ReplaceAll(ref, ".", "-"))
	if err != nil {
		return Push{}, fmt.Errorf("push %s: %w", ref, err)
	}
	defer release()
	rec, err := f(held)
	if err != nil {
		err = fmt.Errorf("push %s: %w", ref, err)
	}
	if rec == nil {
		return Push{}, err
	}
	return *rec, err
}

// work takes step after step until the record is terminal. Steps that could not reach
// Stripe are repeated with growing pauses while there is patience.
func (p *Pusher) work(ctx context.Context, rec *Push) error {
	p.adopt(rec)
	until := p.cfg.Now().Add(p.cfg.Patience)
	pause := time.Second
	for !rec.terminal() {
		state := rec.State
		wait, err := p.step(ctx, rec)
		if err == nil && wait == 0 {
			pause = time.Second
			if rec.State != state {
				p.cfg.Log.Debug().Str("ref", rec.Ref).Str("state", string(rec.State)).Msg("push goes on")
			}
			continue
		}
		if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
			return errors.Join(err, p.keep(ctx, rec))
		}
		if saveErr := p.keep(ctx, rec); saveErr != nil {
			return saveErr
		}
		if wait == 0 {
			wait, pause = pause, min(2*pause, time.Minute)
		}
		if p.cfg.Now().Add(wait).After(until) {
			if err == nil {
				err = fmt.Errorf("%w: a request of before may still take effect", schemas.ErrUnavailable)
			}
			return fmt.Errorf("it is %s and goes on with the next call: %w", rec.State, err)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over a record of a process that may have died: of what it may have sent it
// is not known when, so the quiet time begins now.
func (p *Pusher) adopt(rec *Push) {
	for _, e := range append([]*Entry{rec.Create, rec.Finalize}, rec.Lines...) {
		if e != nil && (e.State == Sent || e.State == Stored) {
			e.LastSent = p.cfg.Now().UTC()
		}
	}
}

// keep stores the record.
func (p *Pusher) keep(ctx context.Context, rec *Push) error {
	rec.Changed = p.cfg.Now().UTC()
	return save(ctx, p.store, rec)
}

// attend hands a bill to a person.
func (p *Pusher) attend(ctx context.Context, rec *Push, reason, format string, args ...any) error {
	rec.State, rec.Reason, rec.Detail = Attention, reason, fmt.Sprintf(format, args...)
	p.cfg.Log.Error().Str("ref", rec.Ref).Str("reason", reason).Str("detail", rec.Detail).Msg("a bill needs a person")
	return p.keep(ctx, rec)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

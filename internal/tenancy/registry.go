package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// Log is what the registry needs of an event log; *eventlog.Log has it.
type Log interface {
	Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error)
	Read(ctx context.Context, cfg eventlog.ReadConfig) (*eventlog.Reader, error)
	LastForSubject(ctx context.Context, stream, subject string) (eventlog.Record, bool, error)
	State(ctx context.Context, stream string) (eventlog.State, error)
}

// Config bounds a Registry. The zero value of a limit takes the default.
type Config struct {
	// Now is the clock of CreatedAt and the audit log. Default time.Now.
	Now func() time.Time
	// WaitMax bounds how long a change waits for this node to have read it back.
	// Default 10 seconds, the time a cluster may need for a new leader. The change
	// stands when it is exceeded; the caller is told ErrUnavailable.
	WaitMax time.Duration
	// RetryEvery is the pause before the stream is opened again after the log was
	// out of reach. Default 200 ms: a fifth of the second a change may take.
	RetryEvery time.Duration
	// SilenceMax is how long the log may be out of reach before Check fails.
	// Default 5 seconds: a cluster elects a leader in less, and a revocation should
	// not be missed for longer unnoticed.
	SilenceMax time.Duration
	// Plans are what tenants can pay for. Default DefaultCatalog.
	Plans *Catalog
	// DatabaseOf names the database of a new tenant whose plan isolates it; nil puts
	// every new tenant into the shared one.
	DatabaseOf func(tenantID string) string
	// ChannelKey seals addresses and secrets of alert channels; nil refuses channels that
	// have any. CheckChannel says what is wrong with them, by JSON pointer; nil takes all.
	ChannelKey   *contact.Key
	CheckChannel func(kind, address, secret string) error
	Logger       zerolog.Logger
}

func (c Config) withDefaults() Config {
	if c.Plans == nil {
		plans, err := DefaultCatalog()
		if err != nil {
			panic("tenancy: the built-in plans are wrong: " + err.Error())
		}
		c.Plans = plans
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.WaitMax == 0 {
		c.WaitMax = 10 * time.Second
	}
	if c.RetryEvery == 0 {
		c.RetryEvery = 200 * time.Millisecond
	}
	if c.SilenceMax == 0 {
		c.SilenceMax = 5 * time.Second
	}
	return c
}

// What one read of the stream may bring: a step of the fold holds the lock that
// lookups wait for, and 500 events are well under a millisecond.
const (
	readRecordsMax = 500
	readBytesMax   = 1 << 20
	readWait       = time.Second
)

// Registry knows every tenant and key. Its lookups are safe for concurrent use
// and never touch the log. Run must be running for it to know anything.
type Registry struct {
	cfg Config
	log Log

	ready   chan struct{} // closed by Run at the first catch-up
	stopped chan struct{} // closed when Run has ended

	// mu guards what follows. Run alone writes, one batch at a time, so a reader
	// sees whole events; a crash leaves nothing, the stream has it all.
	mu      sync.RWMutex
	fold    *fold
	applied uint64        // position up to which the stream is folded
	moved   chan struct{} // closed and replaced whenever applied grows
	refused int           // events passed over
	epoch   uint64        // of the stream that is folded, 0 before the first read
	heard   time.Time     // when the log last answered, by Config.Now
}

// New returns a Registry that knows nothing until Run reads the log.
func New(cfg Config, log Log) *Registry {
	cfg = cfg.withDefaults()
	return &Registry{
		cfg: cfg, log: log,
		ready: make(chan struct{}), stopped: make(chan struct{}),
		fold: newFold(cfg.Plans), moved: make(chan struct{}),
	}
}

// Run folds stream CONTROL from its first record on and follows it until ctx
// ends, then returns nil. Call it once. It returns an error only for what waiting
// does not mend: a record this binary cannot read, or a log that lost records.
func (r *Registry) Run(ctx context.Context) error {
	defer close(r.stopped)
	for {
		err := r.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, schemas.ErrUnavailable):
			return fmt.Errorf("follow %s: %w", schemas.StreamControl, err)
		}
		r.cfg.Logger.Warn().Err(err).Msg("control stream is out of reach, trying again")
		timer := time.NewTimer(r.cfg.RetryEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// follow reads on from what is folded until something goes wrong.
func (r *Registry) follow(ctx context.Context) error {
	// The newest record there is now, whatever may have been purged after it.
	last, _, err := r.log.LastForSubject(ctx, schemas.StreamControl, schemas.SubjectsControl)
	if err != nil {
		return err
	}
	state, err := r.log.State(ctx, schemas.StreamControl)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if r.epoch == 0 {
		r.epoch = state.Epoch
	}
	cfg := eventlog.ReadConfig{Stream: schemas.StreamControl, Epoch: r.epoch}
	if r.applied > 0 {
		cfg.From = r.applied + 1
	}
	r.mu.Unlock()
	reader, err := r.log.Read(ctx, cfg)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		r.markHeard(last.Seq)
		records, err := reader.Next(ctx, readRecordsMax, readBytesMax, readWait)
		if err != nil {
			return err
		}
		if err := r.apply(records); err != nil {
			return err
		}
	}
}

// markHeard notes that the log answered, and opens Ready once target is folded.
func (r *Registry) markHeard(target uint64) {
	r.mu.Lock()
	r.heard = r.cfg.Now()
	behind := r.applied < target
	r.mu.Unlock()
	if behind {
		return
	}
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// apply folds records and wakes who waits for them.
func (r *Registry) apply(records []eventlog.Record) error {
	if len(records) == 0 {
		return nil
	}
	events := make([]*event, len(records)) // decoded before lookups are held up
	for i, rec := range records {
		if !relevant(rec.Subject) {
			continue
		}
		e, err := decode(rec.Data)
		if err != nil {
			return fmt.Errorf("record %d on %s: %w", rec.Seq, rec.Subject, err)
		}
		events[i] = &e
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, rec := range records {
		if events[i] != nil {
			if err := r.fold.apply(rec.Subject, rec.Seq, events[i]); err != nil {
				r.refused++
				r.cfg.Logger.Warn().Err(err).Uint64("seq", rec.Seq).Str("event", events[i].ID).Msg("control event passed over")
			}
		}
		r.applied = rec.Seq
	}
	close(r.moved)
	r.moved = make(chan struct{})
	return nil
}

// Ready is closed once everything that was on the stream when Run started is
// folded. Before that, a lookup that finds nothing means nothing.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

// Check says whether what the registry knows is fresh, for a readiness probe.
// Errors match schemas.ErrUnavailable.
func (r *Registry) Check(context.Context) error {
	if err := r.known(); err != nil {
		return err
	}
	select {
	case <-r.stopped:
		return fmt.Errorf("the registry was stopped: %w", schemas.ErrUnavailable)
	default:
	}
	r.mu.RLock()
	silence := r.cfg.Now().Sub(r.heard)
	r.mu.RUnlock()
	if silence > r.cfg.SilenceMax {
		return fmt.Errorf("the control stream has been out of reach for %s: %w",
			silence.Round(time.Second), schemas.ErrUnavailable)
	}
	return nil
}

// Position is the position in CONTROL up to which the registry has read.
func (r *Registry) Position() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.applied
}

// WaitFor returns when the registry has folded the record at seq. The error is
// schemas.ErrUnavailable when that takes longer than Config.WaitMax.
func (r *Registry) WaitFor(ctx context.Context, seq uint64) error {
	fold := eventlog.Fold{Name: "the registry", Record: "control event", WaitMax: r.cfg.WaitMax, Stopped: r.stopped,
		Look: func() (uint64, <-chan struct{}) {
			r.mu.RLock()
			defer r.mu.RUnlock()
			return r.applied, r.moved
		}}
	return fold.WaitFor(ctx, seq)
}

// ByID returns a tenant, deleted ones included.
func (r *Registry) ByID(id string) (Tenant, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if t := r.fold.tenants[id]; t != nil {
		return t.Tenant, true
	}
	return Tenant{}, false
}

// BySlug returns a tenant, deleted ones included.
func (r *Registry) BySlug(slug string) (Tenant, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if t := r.fold.tenants[r.fold.slugs[slug]]; t != nil {
		return t.Tenant, true
	}
	return Tenant{}, false
}

// Find returns the tenant with that id or slug if the scope reaches it. What is
// out of reach and what does not exist are the same ErrNotFound.
func (r *Registry) Find(scope Scope, idOrSlug string) (Tenant, error) {
	t, ok := r.ByID(idOrSlug)
	if !ok {
		t, ok = r.BySlug(idOrSlug)
	}
	if !ok || t.Status == StatusErased && !scope.IsPlatform() {
		return Tenant{}, ErrNotFound
	}
	if _, err := scope.For(t.ID); err != nil {
		return Tenant{}, err
	}
	return t, nil
}

// List returns every tenant in the order of slugs.
func (r *Registry) List() []Tenant { return r.ListAfter("", 0) }

// ListAfter returns tenants in the order of slugs, from the first slug after the
// given one, at most limit of them; 0 is no limit.
func (r *Registry) ListAfter(slug string, limit int) []Tenant {
	return r.Search(Search{After: slug, Limit: limit})
}

// Placed returns the database of every tenant that has one of its own, by the tenant's
// id. The map is never changed.
func (r *Registry) Placed() map[string]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fold.placed
}

// CatchUp returns when everything that was on stream CONTROL at the call is known here.
// Errors match schemas.ErrUnavailable.
func (r *Registry) CatchUp(ctx context.Context) error {
	return r.catchUp(ctx, schemas.SubjectsControl)
}

// KeyByID returns a key, revoked ones included. Its Scopes must not be changed.
func (r *Registry) KeyByID(id string) (Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if k := r.fold.keys[id]; k != nil {
		return k.Key, true
	}
	return Key{}, false
}

// KeysOf returns the keys of a tenant, or of the platform for "", in the order of
// creation, revoked ones included.
func (r *Registry) KeysOf(tenantID string) []Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ids := r.fold.keysOf[tenantID]
	out := make([]Key, len(ids))
	for i, id := range ids {
		out[i] = r.fold.keys[id].Key
	}
	return out
}

// Refused counts events that the fold passed over because they contradict what
// stood before them. It moves only when two nodes raced.
func (r *Registry) Refused() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.refused
}

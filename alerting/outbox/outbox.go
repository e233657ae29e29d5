package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// Log is what an Outbox needs of the event log; *eventlog.Log has it.
type Log interface {
	Read(ctx context.Context, cfg eventlog.ReadConfig) (*eventlog.Reader, error)
	LastForSubject(ctx context.Context, stream, subject string) (eventlog.Record, bool, error)
	State(ctx context.Context, stream string) (eventlog.State, error)
	Bucket(ctx context.Context, cfg eventlog.BucketConfig) (*eventlog.Bucket, error)
}

// Contacts is who knows channels and people.
type Contacts interface {
	// CatchUp returns when what was changed before the call is known here. Errors match
	// schemas.ErrUnavailable.
	CatchUp(ctx context.Context) error
	// Audience returns who may be told of a tenant's alerts, or of the platform's for "".
	// false: the tenant does not exist any more.
	Audience(tenant string) (Audience, bool)
	// Channel opens a channel of a tenant, or of the platform for ""; id may be Default.
	// An error that has Permanent() true is one that waiting does not mend, such as a
	// channel that was removed.
	Channel(tenant, id string) (Opened, error)
}

// Opened is a channel that can be sent to.
type Opened struct {
	channel.Channel
	Name string
	// To are the addresses of e-mail.
	To []string
	// Quiet returns when the quiet hours that a moment is in are over; zero if it is in
	// none. It may be nil.
	Quiet func(time.Time) time.Time
}

// Config is what an Outbox needs to know. The zero value of a limit takes the default.
type Config struct {
	Contacts Contacts
	Render   alerting.RenderConfig
	// Lease says who delivers; nil is this node, always. Nothing hangs on it but that
	// nobody is told twice, with the same id.
	Lease alerting.Lease
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// LookEvery is how often what is due is looked for, beside when something changed.
	// Default one second. The clock is asked then, and no timer runs for longer.
	LookEvery time.Duration
	// PerChannelMax is how many messages are on the way to one channel, and TotalMax to
	// all of them. Defaults 2 and 512: a channel that hangs holds its own up, for as
	// long as a call may take, and it takes 256 of them to hold up others.
	PerChannelMax, TotalMax int
	// DigestMax bounds the records of a digest. Default 100.
	DigestMax int
	// KeepFor is how long a delivery that ended is kept; one that is dead three times as
	// long, so that it can be sent again. Default 30 days.
	KeepFor time.Duration
	// RetryEvery is the pause after the log could not be reached. Default one second.
	RetryEvery time.Duration
	Metrics    *Metrics
	Logger     zerolog.Logger
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LookEvery == 0 {
		c.LookEvery = time.Second
	}
	if c.PerChannelMax == 0 {
		c.PerChannelMax = 2
	}
	if c.TotalMax == 0 {
		c.TotalMax = 512
	}
	if c.DigestMax == 0 {
		c.DigestMax = 100
	}
	if c.KeepFor == 0 {
		c.KeepFor = 30 * 24 * time.Hour
	}
	if c.RetryEvery == 0 {
		c.RetryEvery = time.Second
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// An Outbox hands alerts over. Run must be running for it to know or do anything; then
// its other methods answer on every node, whoever delivers.
type Outbox struct {
	cfg   Config
	log   Log
	store *store
	ready chan struct{} // closed when all deliveries are known
	once  sync.Once
	// wrap is for tests: what stands between the store and the bucket.
	wrap func(bucket) bucket
}

// New returns an Outbox that does nothing before Run.
func New(cfg Config, log Log) *Outbox {
	cfg = cfg.withDefaults()
	o := &Outbox{cfg: cfg, log: log, store: newStore(cfg.Logger), ready: make(chan struct{})}
	cfg.Metrics.watched.Store(o.store)
	return o
}

// leaseName is the lease of the node that delivers.
const leaseName = "outbox"

// Ready is closed once all deliveries are known that there were when Run began.
func (o *Outbox) Ready() <-chan struct{} { return o.ready }

// Run delivers while this node has the lease, until ctx ends, and returns nil then. What
// the log cannot take or give now is tried again.
func (o *Outbox) Run(ctx context.Context) error {
	for {
		b, err := o.log.Bucket(ctx, eventlog.BucketConfig{Name: bucketName, Description: "Messages about alerts: to be sent, sent, and given up."})
		if err == nil {
			o.store.mu.Lock()
			o.store.bucket = b
			if o.wrap != nil {
				o.store.bucket = o.wrap(b)
			}
			o.store.mu.Unlock()
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		o.cfg.Logger.Warn().Err(err).Msg("the bucket of deliveries cannot be opened, trying again")
		if !pause(ctx, o.cfg.RetryEvery) {
			return nil
		}
	}
	var work sync.WaitGroup
	work.Go(func() {
		o.again(ctx, "deliveries cannot be read, trying again", func() error {
			return o.store.follow(ctx, func() { o.once.Do(func() { close(o.ready) }) })
		})
	})
	work.Go(func() {
		o.again(ctx, "the lease of deliveries cannot be had, trying again", func() error { return o.lead(ctx) })
	})
	work.Wait()
	return nil
}

// again runs f until ctx ends.
func (o *Outbox) again(ctx context.Context, say string, f func() error) {
	for ctx.Err() == nil {
		if err := f(); err != nil && ctx.Err() == nil {
			o.cfg.Logger.Warn().Err(err).Msg(say)
		}
		pause(ctx, o.cfg.RetryEvery)
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lead waits for the lease and delivers until it is lost.
func (o *Outbox) lead(ctx context.Context) error {
	select {
	case <-o.ready:
	case <-ctx.Done():
		return nil
	}
	held, release := ctx, func() {}
	if o.cfg.Lease != nil {
		var err error
		if held, release, err = o.cfg.Lease.Hold(ctx, leaseName); err != nil {
			return err
		}
	}
	defer release()
	// What the node before wrote must be known, all of it, before a digest is made.
	if err := o.store.refresh(held); err != nil {
		return err
	}
	// Each by itself: what is on its way is not cut off because the stream cannot be read.
	var work sync.WaitGroup
	work.Go(func() {
		o.again(held, "alerts cannot be read for delivery, trying again", func() error { return o.follow(held) })
	})
	work.Go(func() {
		o.again(held, "alerts cannot be delivered now, trying again", func() error { return o.deliver(held) })
	})
	work.Wait()
	return nil
}

// refresh returns when all that is in the bucket is known.
func (s *store) refresh(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	known := false
	err := s.follow(ctx, func() { known = true; stop() })
	if known {
		return nil
	}
	return err
}

// What one read of the stream may bring.
const (
	readRecordsMax = 100
	readBytesMax   = 1 << 20
	readWait       = time.Second
	// makeAtOnce is how many deliveries are made side by side: each waits for an fsync.
	makeAtOnce = 8
)

// follow makes deliveries of records from the cursor on.
func (o *Outbox) follow(ctx context.Context) error {
	state, err := o.log.State(ctx, schemas.StreamDecisions)
	if err != nil {
		return err
	}
	at, there, err := o.store.readCursor(ctx)
	if err != nil {
		return err
	}
	if !there {
		// Records from before there was an outbox: who was not told in time is not told
		// of a month long past.
		at = cursor{Epoch: state.Epoch, Old: state.Last}
		if err := o.store.writeCursor(ctx, &at); err != nil {
			return err
		}
	}
	if at.Epoch != state.Epoch || at.Seq > state.Last {
		// Another log, restored from a backup. Deliveries have their ids all the same.
		at.Epoch, at.Seq, at.Old = state.Epoch, 0, state.Last
	}
	cfg := eventlog.ReadConfig{Stream: schemas.StreamDecisions, Subjects: []string{alerting.SubjectsAlerts}, Epoch: at.Epoch}
	if at.Seq > 0 {
		cfg.From = max(at.Seq+1, state.First) // the oldest may have been erased
	}
	reader, err := o.log.Read(ctx, cfg)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		records, err := reader.Next(ctx, readRecordsMax, readBytesMax, readWait)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		if err := o.make(ctx, records, at.Old); err != nil {
			return err
		}
		at.Seq = records[len(records)-1].Seq
		if err := o.store.writeCursor(ctx, &at); err != nil {
			return err
		}
	}
}

// make makes the deliveries of records.
func (o *Outbox) make(ctx context.Context, records []eventlog.Record, old uint64) error {
	// Who set up a channel before the alert fired is told there.
	if err := o.cfg.Contacts.CatchUp(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(makeAtOnce)
	now := o.cfg.Now().UTC()
	for i := range records {
		var r alerting.Record
		if err := json.Unmarshal(records[i].Data, &r); err != nil || r.Version != alerting.RecordVersion {
			o.cfg.Logger.Warn().Err(err).Uint64("seq", records[i].Seq).Msg("record of an alert is not delivered: it cannot be read")
			continue
		}
		if records[i].Seq <= old && now.Sub(r.At) > giveUpAfter {
			continue
		}
		audience, ok := o.cfg.Contacts.Audience(r.Identity.Tenant)
		if !ok {
			continue // erased meanwhile
		}
		for _, d := range Plan(&r, Ref{records[i].Subject, records[i].Seq}, audience, now) {
			group.Go(func() error {
				if d.State == Muted {
					o.cfg.Metrics.count(&d, "muted")
				}
				if err := o.store.create(ctx, &d); err != nil {
					return fmt.Errorf("make delivery %s: %w", d.ID, err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

package eventlog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/schemas"
)

// ReadConfig says what a Reader reads.
type ReadConfig struct {
	Stream string
	// From is the first position wanted, usually one after the last one handled.
	// 0 is the oldest record there is. A position before the oldest record, or
	// more than one past the newest, is ErrTruncated.
	From uint64
	// Subjects keeps only records whose subject matches one of these, which may
	// hold wildcards. Nil keeps all.
	Subjects []string
	// Epoch, if not 0, must be the stream's (State.Epoch), else ErrTruncated.
	Epoch uint64
}

// behindMax is how long a new leader may take to apply what it has.
const behindMax = 5 * time.Second

// Reader reads a stream in order, each record once, and waits for new ones at
// its end. It fetches ahead. Next is for one goroutine; Close may come from any.
type Reader struct {
	log    *Log
	cfg    ReadConfig
	logger zerolog.Logger
	limit  int // bytes to hold at most
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	// ready has an item when Next should look again; reset when the feed must be
	// replaced.
	ready, reset chan struct{}

	mu     sync.Mutex
	queue  queue  // fetched, not handed out
	bytes  int    // of queue
	next   uint64 // lowest position not fetched
	epoch  uint64
	feed   *feed     // where records come from now, nil while there is none
	behind time.Time // since when the stream ends before next, zero if it does not
	down   error     // why there is no feed
	err    error     // why there will never be one again
}

// Read starts a Reader.
//
// Errors: ErrTruncated, ErrNotFound (no such stream), schemas.ErrUnavailable.
func (l *Log) Read(ctx context.Context, cfg ReadConfig) (*Reader, error) {
	// Time for a new leader to catch up, and to look again.
	ctx, cancel := context.WithTimeout(ctx, behindMax+l.cfg.AckTimeout)
	defer cancel()
	r := &Reader{
		log:    l,
		cfg:    cfg,
		logger: l.log.With().Str("stream", cfg.Stream).Logger(),
		limit:  l.cfg.ReadAheadBytes,
		done:   make(chan struct{}),
		ready:  make(chan struct{}, 1),
		reset:  make(chan struct{}, 1),
		next:   max(cfg.From, 1),
		epoch:  cfg.Epoch,
	}
	if err := l.retry(ctx, func(ctx context.Context) error { return r.connect(ctx, cfg.From == 0) }); err != nil {
		return nil, fmt.Errorf("read %s from %d: %w", cfg.Stream, cfg.From, err)
	}
	var err error
	r.cancel, err = l.spawn(func(background context.Context) {
		defer close(r.done)
		r.run(background)
	})
	if err != nil {
		r.feed.close()
		return nil, fmt.Errorf("read %s: %w", cfg.Stream, err)
	}
	return r, nil
}

// Next returns records that follow those it returned before: at least one, at
// most recordsMax, and no more than bytesMax of payload unless the first record
// alone is larger. It waits up to wait for the first; if none comes it returns
// none and no error.
//
// schemas.ErrUnavailable means that the wait ended while the broker was out of
// reach; call again. ErrTruncated means that the next record is gone; ErrClosed
// that the Reader or its Log was closed. Both are final.
func (r *Reader) Next(ctx context.Context, recordsMax, bytesMax int, wait time.Duration) ([]Record, error) {
	var timer *time.Timer
	var expired <-chan time.Time
	for {
		recs, err := r.take(recordsMax, bytesMax)
		if len(recs) > 0 || err != nil {
			return recs, err
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-r.ready:
		case <-expired:
			return nil, r.trouble()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take hands out what is there, and asks for more if that made room.
func (r *Reader) take(recordsMax, bytesMax int) ([]Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.queue.waiting()
	if len(waiting) == 0 {
		return nil, r.err
	}
	n, size := 0, 0
	for n < len(waiting) && n < recordsMax && (n == 0 || size+len(waiting[n].Data) <= bytesMax) {
		size += len(waiting[n].Data)
		r.bytes -= weigh(waiting[n])
		n++
	}
	recs := r.queue.pop(n)
	r.pull()
	return recs, nil
}

// trouble returns why nothing comes, nil if nothing is there to come.
func (r *Reader) trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return r.err
	case r.feed == nil && r.down != nil:
		return fmt.Errorf("read %s at %d: %w", r.cfg.Stream, r.next, r.down)
	}
	return nil
}

// Close ends the Reader. It is safe to call twice, and after Log.Close.
func (r *Reader) Close() {
	r.cancel()
	<-r.done
}

// run keeps a feed alive until ctx ends or the log lost what comes next.
func (r *Reader) run(ctx context.Context) {
	reconnected := r.log.conn.StatusChanged(nats.CONNECTED)
	defer r.log.conn.RemoveStatusListener(reconnected)
	silence := time.NewTicker(heartbeat)
	defer silence.Stop()
	defer r.end(ErrClosed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.reset:
		case <-reconnected:
			// The server may be another one, and requests under way are lost.
			r.drop("reconnected")
		case <-silence.C:
			r.listen()
			continue
		}
		if !r.missing() {
			continue
		}
		err := r.log.retry(ctx, func(ctx context.Context) error { return r.noteDown(r.connect(ctx, false)) })
		if err != nil && ctx.Err() == nil {
			r.end(fmt.Errorf("read %s at %d: %w", r.cfg.Stream, r.next, err))
			return
		}
	}
}

func (r *Reader) missing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.feed == nil
}

func (r *Reader) noteDown(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
	return err
}

// end makes err the last word, unless there is one already.
func (r *Reader) end(err error) {
	r.mu.Lock()
	old := r.feed
	r.feed = nil
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	old.close()
	signal(r.ready)
}

// drop gives the current feed up; run makes another.
func (r *Reader) drop(why string) {
	r.mu.Lock()
	old := r.feed
	r.feed = nil
	r.mu.Unlock()
	if old == nil {
		return
	}
	r.logger.Debug().Str("why", why).Msg("reader starts a new consumer")
	old.close()
	signal(r.reset)
}

// connect checks that the stream still holds what comes next and starts a feed
// there.
func (r *Reader) connect(ctx context.Context, fromOldest bool) error {
	if err := r.checkPosition(ctx, fromOldest); err != nil {
		return err
	}
	f, err := r.startFeed(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.feed, r.down = f, nil
	r.pull()
	r.mu.Unlock()
	return nil
}

func (r *Reader) checkPosition(ctx context.Context, fromOldest bool) error {
	state, err := r.log.State(ctx, r.cfg.Stream)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch == 0 {
		r.epoch = state.Epoch
	}
	if fromOldest {
		r.next = state.First
	}
	switch {
	case r.epoch != state.Epoch:
		return fmt.Errorf("%w: the stream is another one, made %s", ErrTruncated, state.Created.Format(time.RFC3339))
	case r.next < state.First:
		return fmt.Errorf("%w: %d is wanted, the oldest record is %d", ErrTruncated, r.next, state.First)
	case r.next > state.Last+1:
		return r.beyondEnd(state.Last)
	}
	r.behind = time.Time{}
	return nil
}

// beyondEnd handles a stream that ends before the record we have. In a cluster a
// leader that was just elected may not have applied all that was acknowledged;
// it gets behindMax to do so. Otherwise the log lost its end. The caller holds
// r.mu.
func (r *Reader) beyondEnd(last uint64) error {
	if r.behind.IsZero() {
		r.behind = time.Now()
	}
	if r.log.broker == nil && time.Since(r.behind) < behindMax {
		return fmt.Errorf("%w: the leader is at %d, before %d", schemas.ErrUnavailable, last, r.next)
	}
	return fmt.Errorf("%w: %d is wanted, the newest record is %d", ErrTruncated, r.next, last)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// weigh is what a record costs to hold.
func weigh(rec Record) int { return len(rec.Data) + len(rec.Subject) + 96 }

// queue holds records in order. Its memory is used again: a slice that is cut at
// the front and grown at the back would be copied as a whole time and again.
type queue struct {
	records []Record
	head    int // records before it were popped
}

func (q *queue) waiting() []Record { return q.records[q.head:] }

func (q *queue) push(rec Record) {
	if len(q.records) == cap(q.records) && q.head > len(q.records)/2 {
		n := copy(q.records, q.records[q.head:])
		clear(q.records[n:])
		q.records, q.head = q.records[:n], 0
	}
	q.records = append(q.records, rec)
}

// pop returns the first n records, in memory of their own.
func (q *queue) pop(n int) []Record {
	out := make([]Record, n)
	copy(out, q.records[q.head:])
	clear(q.records[q.head : q.head+n])
	if q.head += n; q.head == len(q.records) {
		q.records, q.head = q.records[:0], 0
	}
	return out
}

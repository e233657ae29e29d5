package pricelist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

const subjectPrefix = "control.prices."

// Log is the event log as this package uses it.
type Log interface {
	Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error)
	LastForSubject(ctx context.Context, stream, subject string) (eventlog.Record, bool, error)
}

// List reads and publishes revisions. It is safe for concurrent use.
type List struct {
	log    Log
	shards []schemas.Shard

	mu sync.Mutex
	// books are the revisions read so far. They never change once published.
	books map[uint32]*schemas.PriceBook
}

// New returns the List of a log whose events are spread over shards.
func New(log Log, shards []schemas.Shard) *List {
	return &List{log: log, shards: shards, books: map[uint32]*schemas.PriceBook{}}
}

// ErrUnknownRevision says that no revision has that number.
var ErrUnknownRevision = errors.New("no such price revision")

// Book returns the price book of a revision. Revision 0 is the empty book: it is
// in force before the first revision, and prices nothing.
func (l *List) Book(ctx context.Context, number uint32) (*schemas.PriceBook, error) {
	l.mu.Lock()
	book := l.books[number]
	l.mu.Unlock()
	if book != nil {
		return book, nil
	}
	revision := schemas.PriceRevision{}
	if number > 0 {
		record, ok, err := l.log.LastForSubject(ctx, schemas.StreamControl, subject(number))
		if err != nil {
			return nil, fmt.Errorf("read price revision %d: %w", number, err)
		}
		if !ok {
			return nil, fmt.Errorf("read price revision %d: %w", number, ErrUnknownRevision)
		}
		if revision, err = schemas.DecodePriceRevision(record.Data); err != nil {
			return nil, fmt.Errorf("read price revision %d: %w", number, err)
		}
	}
	book, err := schemas.BuildPriceBook(revision)
	if err != nil {
		return nil, fmt.Errorf("build price revision %d: %w", number, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.books[number] = book
	return book, nil
}

// Current returns the newest revision's book, the empty one if there is none.
func (l *List) Current(ctx context.Context) (*schemas.PriceBook, error) {
	number, err := l.newest(ctx)
	if err != nil {
		return nil, err
	}
	return l.Book(ctx, number)
}

func (l *List) newest(ctx context.Context) (uint32, error) {
	record, ok, err := l.log.LastForSubject(ctx, schemas.StreamControl, subjectPrefix+"*")
	if err != nil {
		return 0, fmt.Errorf("find newest price revision: %w", err)
	}
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(record.Subject[len(subjectPrefix):], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("find newest price revision: subject %s: %w", record.Subject, err)
	}
	return uint32(n), nil
}

// Publish makes a revision the newest: it prices every event that comes after it
// on the log. It must follow the revision the caller has seen, base; if another
// one was published since, the error matches schemas.ErrConflict. After
// schemas.ErrUnavailable the revision may be decided; Announce, or publishing on
// top of what Current then returns, finishes it.
func (l *List) Publish(ctx context.Context, base uint32, revision schemas.PriceRevision) (uint32, error) {
	revision.Number = base + 1
	if _, err := schemas.BuildPriceBook(revision); err != nil {
		return 0, fmt.Errorf("publish prices: %w", err)
	}
	data, err := revision.Encode()
	if err != nil {
		return 0, fmt.Errorf("publish prices: %w", err)
	}
	var none uint64
	_, err = l.log.Append(ctx, eventlog.Message{
		Subject: subject(revision.Number), Data: data, ExpectLastSubjectSeq: &none,
	})
	if err != nil && !l.stands(ctx, revision.Number, data) {
		return 0, fmt.Errorf("publish price revision %d: %w", revision.Number, err)
	}
	return revision.Number, l.Announce(ctx)
}

// stands reports whether these very bytes are the revision of that number: the
// append took effect although its answer was lost.
func (l *List) stands(ctx context.Context, number uint32, data []byte) bool {
	record, ok, err := l.log.LastForSubject(ctx, schemas.StreamControl, subject(number))
	return err == nil && ok && bytes.Equal(record.Data, data)
}

// Announce puts the newest revision's number on every shard that has not got it.
func (l *List) Announce(ctx context.Context) error {
	number, err := l.newest(ctx)
	if err != nil || number == 0 {
		return err
	}
	for _, shard := range l.shards {
		if err := l.announce(ctx, shard, number); err != nil {
			return fmt.Errorf("announce price revision %d: %w", number, err)
		}
	}
	return nil
}

// announce puts a number on one shard. The append is a compare-and-set, because
// an older number after a newer one would bring the older prices back: who lost
// looks again, and finds at least its own number there.
func (l *List) announce(ctx context.Context, shard schemas.Shard, number uint32) error {
	subject := shard.PricesSubject()
	for {
		last, ok, err := l.log.LastForSubject(ctx, shard.Stream(), subject)
		if err != nil {
			return err
		}
		var seq uint64
		if ok {
			seq = last.Seq
			// A text that is no number prices nothing; the writer has quarantined it.
			if n, err := strconv.ParseUint(string(last.Data), 10, 32); err == nil && uint32(n) >= number {
				return nil
			}
		}
		_, err = l.log.Append(ctx, eventlog.Message{
			Subject: subject, Data: strconv.AppendUint(nil, uint64(number), 10), ExpectLastSubjectSeq: &seq,
		})
		if !errors.Is(err, schemas.ErrConflict) {
			return err
		}
	}
}

// Ensure publishes a first revision if there is none, and announces the newest.
func (l *List) Ensure(ctx context.Context, first schemas.PriceRevision) error {
	number, err := l.newest(ctx)
	if err != nil {
		return err
	}
	if number == 0 {
		if _, err := l.Publish(ctx, 0, first); err != nil && !errors.Is(err, schemas.ErrConflict) {
			return err
		}
	}
	return l.Announce(ctx)
}

func subject(number uint32) string {
	return subjectPrefix + strconv.FormatUint(uint64(number), 10)
}

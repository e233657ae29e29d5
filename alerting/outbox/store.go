package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// bucketName is the bucket of deliveries and of the cursor.
const bucketName = "deliveries"

// cursorKey is where the position on DECISIONS is kept up to which deliveries were made.
const cursorKey = "cursor"

// bucket is what a store needs of a bucket of the log; *eventlog.Bucket has it.
type bucket interface {
	Get(ctx context.Context, key string) (eventlog.Entry, error)
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, pattern string) (<-chan eventlog.Entry, error)
}

// store keeps deliveries in a bucket and knows all of them: what it wrote itself at once,
// what others wrote a moment later. Every change is compared with the one that is known,
// so a store that is behind changes nothing.
type store struct {
	bucket bucket
	logger zerolog.Logger

	// mu guards what follows. A crash leaves nothing: the bucket has it all.
	mu     sync.RWMutex
	items  map[string]*item // by key; deliveries that are gone have none
	active map[*item]bool   // that have not ended
	busy   map[*item]bool   // that are on their way
	ids    map[string]*item
	newest uint64        // revision
	wake   chan struct{} // holds one
}

// item is a delivery at a revision of the bucket.
type item struct {
	Delivery
	revision uint64
	// hold: not before, though due.
	hold time.Time
}

// found is a delivery as it was when it was looked for.
type found struct {
	Delivery
	item *item
}

func newStore(logger zerolog.Logger) *store {
	return &store{logger: logger, items: map[string]*item{}, active: map[*item]bool{}, busy: map[*item]bool{}, ids: map[string]*item{}, wake: make(chan struct{}, 1)}
}

// follow reads what is in the bucket and goes on with what is changed, until ctx ends or
// the watch does. all, if not nil, is called when everything is known.
func (s *store) follow(ctx context.Context, all func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.RLock()
	known := s.newest
	s.mu.RUnlock()
	changes, err := s.bucket.Watch(ctx, keyPrefix+">")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for entry := range changes {
		if entry.Key == "" {
			s.missed(known, seen)
			seen = nil
			if all != nil {
				all()
			}
			continue
		}
		if seen != nil {
			seen[entry.Key] = true
		}
		s.apply(entry.Key, entry.Value, entry.Revision, entry.Deleted)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("watch bucket %s: %w", bucketName, schemas.ErrUnavailable)
}

// missed forgets what was deleted while nobody watched.
func (s *store) missed(known uint64, seen map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, it := range s.items {
		if !seen[key] && it.revision <= known {
			s.drop(key)
		}
	}
}

// apply makes a revision of a key the one that is known, unless a later one is.
func (s *store) apply(key string, value []byte, revision uint64, deleted bool) {
	var d Delivery
	if !deleted {
		if err := json.Unmarshal(value, &d); err != nil || d.Version != deliveryVersion || len(d.Records) == 0 || d.key() != key {
			s.logger.Warn().Err(err).Str("key", key).Msg("delivery that cannot be read passed over")
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[key]
	if it != nil && it.revision >= revision {
		return
	}
	s.newest = max(s.newest, revision)
	if deleted {
		s.drop(key)
		return
	}
	if it == nil {
		it = &item{}
		s.items[key] = it
		s.ids[d.ID] = it
	}
	it.Delivery, it.revision = d, revision
	if d.State.ended() {
		delete(s.active, it)
	} else {
		s.active[it] = true
	}
	s.nudge()
}

// drop forgets a key. The caller holds the lock.
func (s *store) drop(key string) {
	if it := s.items[key]; it != nil {
		delete(s.items, key)
		delete(s.active, it)
		delete(s.ids, it.ID)
	}
}

// nudge wakes who looks for what is due.
func (s *store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// create makes a delivery, unless it was made before.
func (s *store) create(ctx context.Context, d *Delivery) error {
	value, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode delivery: %w", err)
	}
	revision, err := s.bucket.Create(ctx, d.key(), value)
	if errors.Is(err, schemas.ErrConflict) {
		return nil // by whoever read the record before; the watch brings it
	}
	if err != nil {
		return err
	}
	s.apply(d.key(), value, revision, false)
	return nil
}

// update changes a delivery that is known. The error matches schemas.ErrConflict if it
// was changed by somebody else, and ErrNotFound if it is gone.
func (s *store) update(ctx context.Context, it *item, change func(*Delivery)) error {
	s.mu.RLock()
	d, revision := it.Delivery, it.revision
	there := s.items[d.key()] == it
	s.mu.RUnlock()
	if !there {
		return eventlog.ErrNotFound
	}
	change(&d)
	value, err := json.Marshal(&d)
	if err != nil {
		return fmt.Errorf("encode delivery: %w", err)
	}
	next, err := s.bucket.Update(ctx, d.key(), value, revision)
	if err != nil {
		return err
	}
	s.apply(d.key(), value, next, false)
	return nil
}

// remove takes deliveries away for ever.
func (s *store) remove(ctx context.Context, list []found) error {
	for i := range list {
		key := list[i].key()
		if err := s.bucket.Delete(ctx, key); err != nil {
			return err
		}
		s.mu.Lock()
		if s.items[key] == list[i].item {
			s.drop(key)
		}
		s.mu.Unlock()
	}
	return nil
}

// pick returns the deliveries that a function is true for, in order.
func (s *store) pick(is func(*Delivery) bool) (list []found) {
	s.mu.RLock()
	for _, it := range s.items {
		if is(&it.Delivery) {
			list = append(list, found{it.Delivery, it})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b found) int { return inOrder(&a.Delivery, &b.Delivery) })
	return list
}

// inOrder compares by the positions of the records.
func inOrder(a, b *Delivery) int {
	return cmp.Or(cmp.Compare(a.seq(), b.seq()), strings.Compare(a.ID, b.ID))
}

// get returns a delivery as it is known.
func (s *store) get(id string) (found, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.ids[id]
	if it == nil {
		return found{}, false
	}
	return found{it.Delivery, it}, true
}

// A cursor is a position on DECISIONS.
type cursor struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
	// Old are positions from before there was a cursor at all, up to this one: records
	// there are told only if they are recent.
	Old uint64 `json:"old,omitempty"`

	revision uint64
}

// readCursor returns the cursor, and whether there is one.
func (s *store) readCursor(ctx context.Context) (c cursor, there bool, err error) {
	entry, err := s.bucket.Get(ctx, cursorKey)
	if errors.Is(err, eventlog.ErrNotFound) {
		return cursor{}, false, nil
	}
	if err != nil {
		return cursor{}, false, err
	}
	if err := json.Unmarshal(entry.Value, &c); err != nil {
		return cursor{}, false, fmt.Errorf("decode the cursor of deliveries: %w", err)
	}
	c.revision = entry.Revision
	return c, true, nil
}

// writeCursor moves the cursor from where the caller saw it. The error matches
// schemas.ErrConflict if somebody else moved it.
func (s *store) writeCursor(ctx context.Context, c *cursor) error {
	value, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the cursor of deliveries: %w", err)
	}
	var revision uint64
	if c.revision == 0 {
		revision, err = s.bucket.Create(ctx, cursorKey, value)
	} else {
		revision, err = s.bucket.Update(ctx, cursorKey, value, c.revision)
	}
	if err == nil {
		c.revision = revision
	}
	return err
}

package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// BucketConfig names a bucket and bounds it.
type BucketConfig struct {
	// Name is letters, digits, _ and -.
	Name string
	// Description says what it holds, to whoever lists the broker's streams.
	Description string
	// History is how many values of a key are kept, 1 to 64. Default 1.
	History uint8
	// TTL is when a value that is not renewed disappears. 0 is never.
	TTL time.Duration
	// MaxBytes bounds the bucket; beyond it writes fail with ErrFull. 0 is no
	// bound of its own.
	MaxBytes int64
}

// Bucket holds the last value of each key. In a cluster Get may be answered by a
// replica that is a moment behind; Create and Update never are.
type Bucket struct {
	kv     jetstream.KeyValue
	name   string
	stored func(error) // of the Log
	outage *outage
}

// Entry is a value of a key.
type Entry struct {
	Key   string
	Value []byte
	// Revision counts changes of the bucket; Update names the one it replaces.
	Revision uint64
	Time     time.Time
	// Deleted: the key has no value any more. Only Watch reports those.
	Deleted bool
}

// Bucket opens a bucket, and makes it if needed.
func (l *Log) Bucket(ctx context.Context, cfg BucketConfig) (*Bucket, error) {
	var kv jetstream.KeyValue
	err := l.retry(ctx, func(ctx context.Context) (err error) {
		kv, err = l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      cfg.Name,
			Description: cfg.Description,
			History:     max(cfg.History, 1),
			TTL:         cfg.TTL,
			MaxBytes:    cfg.MaxBytes,
			Storage:     jetstream.FileStorage,
			Replicas:    l.cfg.Replicas,
		})
		return classify(err)
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", cfg.Name, err)
	}
	return &Bucket{kv: kv, name: cfg.Name, stored: l.stored, outage: l.outage}, nil
}

func (b *Bucket) fail(action, key string, err error) error {
	return fmt.Errorf("%s %s in bucket %s: %w", action, key, b.name, classify(err))
}

// write runs a write unless the store is known to fail, and no longer than it does
// not.
func (b *Bucket) write(ctx context.Context, f func(context.Context) (uint64, error)) (uint64, error) {
	if err := b.outage.reason(); err != nil {
		return 0, err
	}
	ctx, unbind := b.outage.bound(ctx)
	defer unbind()
	rev, err := f(ctx)
	return rev, b.outage.blame(ctx, err)
}

// Get returns the value of a key, or ErrNotFound.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	e, err := b.kv.Get(ctx, key)
	if err != nil {
		return Entry{}, b.fail("get", key, err)
	}
	return entryOf(e), nil
}

// Put sets a key whatever it was, and returns the new revision.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := b.write(ctx, func(ctx context.Context) (uint64, error) { return b.kv.Put(ctx, key, value) })
	if err != nil {
		return 0, b.fail("put", key, err)
	}
	return rev, nil
}

// Create sets a key that has no value. If it has one: schemas.ErrConflict.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := b.write(ctx, func(ctx context.Context) (uint64, error) { return b.kv.Create(ctx, key, value) })
	if err != nil {
		return 0, b.fail("create", key, err)
	}
	return rev, nil
}

// Update replaces the value of a key that is at the given revision. If it is at
// another one: schemas.ErrConflict.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := b.write(ctx, func(ctx context.Context) (uint64, error) { return b.kv.Update(ctx, key, value, revision) })
	b.stored(classify(err))
	if err != nil {
		return 0, b.fail("update", key, err)
	}
	return rev, nil
}

// Delete takes the value of a key away. A key without one is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.write(ctx, func(ctx context.Context) (uint64, error) { return 0, b.kv.Delete(ctx, key) })
	if err != nil {
		return b.fail("delete", key, err)
	}
	return nil
}

// Keys returns the keys that have a value, in no order.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	keys, err := b.kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, b.fail("list", "keys", err)
	}
	return keys, nil
}

// Watch sends the present value of every key that matches the pattern ("" is
// all), then one zero Entry to say that those were all, then every change. The
// channel closes when ctx ends or the connection is given up; a watcher that
// must not miss a change opens a new one then.
func (b *Bucket) Watch(ctx context.Context, pattern string) (<-chan Entry, error) {
	if pattern == "" {
		pattern = ">"
	}
	w, err := b.kv.Watch(ctx, pattern)
	if err != nil {
		return nil, b.fail("watch", pattern, err)
	}
	out := make(chan Entry)
	go func() {
		defer close(out)
		defer w.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-w.Updates():
				if !ok {
					return
				}
				select {
				case out <- entryOf(e):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

func entryOf(e jetstream.KeyValueEntry) Entry {
	if e == nil {
		return Entry{}
	}
	return Entry{
		Key:      e.Key(),
		Value:    e.Value(),
		Revision: e.Revision(),
		Time:     e.Created().UTC(),
		Deleted:  e.Operation() != jetstream.KeyValuePut,
	}
}

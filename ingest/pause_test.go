package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// TestPauseIsBetweenRanges: a commit whose answer was lost may arrive at any moment, so
// a pause begins only when the range that was claimed for it is committed; then nothing
// is, until it is over.
func TestPauseIsBetweenRanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		fillLog(log, rand.New(rand.NewPCG(3, 4)))
		store := &memoryStore{rejects: map[string]string{}}
		var refuse, commits atomic.Int64
		refuse.Store(3)
		store.fault = func(boundary string) error {
			if boundary == "before commit" {
				if refuse.Add(-1) >= 0 {
					return schemas.ErrUnavailable
				}
				commits.Add(1)
			}
			return nil
		}
		w := newTestWriter(t, log, store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(w.cfg.RetryMin / 2) // virtual: the first commit has failed, and is to be made again
		paused, resume, err := w.Pause(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if refuse.Load() >= 0 {
			t.Error("paused while a range is claimed and not committed")
		}
		at := commits.Load()
		if at == 0 || at >= int64(len(log.records)) {
			t.Fatalf("%d commits before the pause", at)
		}
		time.Sleep(time.Hour)
		if n := commits.Load(); n != at {
			t.Errorf("%d commits in the pause", n-at)
		}
		if paused.Err() != nil {
			t.Error("the pause ended by itself")
		}
		resume()
		resume()
		for head := (Head{}); head.To != uint64(len(log.records)); head, _ = store.Head(ctx, 0) {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestPauseEndsWithTheLease: who has paused is told, and nothing is written here before
// it has let go.
func TestPauseEndsWithTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		log.append(schemas.Shard{}.PricesSubject(), []byte("1"))
		store := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
		w := newTestWriter(t, log, store)
		lease := freeLease{lost: make(chan struct{})}
		var acquired atomic.Int64
		w.cfg.Acquire = func(ctx context.Context) (Lease, error) {
			if acquired.Add(1) > 1 {
				return freeLease{}, nil
			}
			return lease, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		paused, resume, err := w.Pause(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		close(lease.lost)
		<-paused.Done()
		time.Sleep(time.Hour)
		if n := acquired.Load(); n != 1 {
			t.Error("the writer went on in the pause")
		}
		resume()
		time.Sleep(time.Hour)
		if n := acquired.Load(); n != 2 {
			t.Errorf("the writer did not go on after the pause: %d leases", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestPauseWithoutTheLease: another node writes.
func TestPauseWithoutTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWriter(t, &memoryLog{}, &memoryStore{fault: func(string) error { return nil }})
		asking, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, _, err := w.Pause(asking); !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("paused a writer that does not run: %v", err)
		}
	})
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/agentik-os/panda/schemas"
)

// TestLostAnswerIsReported: the last commit happened and its answer was lost.
// Nothing follows it, so who keeps totals from OnCommit must be told otherwise.
func TestLostAnswerIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		log.append(schemas.DirectSubject("t"), []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"message","time":"2026-02-01T00:00:00Z"}`))
		lost := false
		store := &memoryStore{rejects: map[string]string{}, fault: func(boundary string) error {
			if boundary == "after commit" && !lost {
				lost = true
				return fmt.Errorf("%s: %w", boundary, schemas.ErrUnavailable)
			}
			return nil
		}}
		w := newTestWriter(t, log, store)
		reported := make(chan uint64, 1)
		refused := false
		w.cfg.OnCommit = func([]schemas.Accepted, uint64) { t.Error("the commit was reported as one of this writer") }
		w.cfg.OnResume = func(_ context.Context, position uint64) error {
			switch {
			case position == 0: // the start
				return nil
			case !refused: // who cannot follow now is told again
				refused = true
				return fmt.Errorf("read totals: %w", schemas.ErrUnavailable)
			}
			reported <- position
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if position := <-reported; position != 1 {
			t.Errorf("told to be at %d", position)
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

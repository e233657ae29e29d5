package eventlog

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Fold is something that is made of a stream's records in their order, as far as
// whoever waits for it is concerned.
type Fold struct {
	// Name and Record are for errors: "the registry", "control event".
	Name, Record string
	// WaitMax bounds a wait.
	WaitMax time.Duration
	// Stopped is closed when nothing is folded any more.
	Stopped <-chan struct{}
	// Look returns the position up to which records are folded, and a channel that is
	// closed when that grows.
	Look func() (applied uint64, moved <-chan struct{})
}

// WaitFor returns when the record at seq is folded, or with ctx's error. It is
// schemas.ErrUnavailable when that takes longer than WaitMax, or will not be.
func (f *Fold) WaitFor(ctx context.Context, seq uint64) error {
	timer := time.NewTimer(f.WaitMax)
	defer timer.Stop()
	for {
		applied, moved := f.Look()
		if applied >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-timer.C:
			return fmt.Errorf("wait for %s %d: %w: %s is at %d", f.Record, seq, schemas.ErrUnavailable, f.Name, applied)
		case <-f.Stopped:
			return fmt.Errorf("wait for %s %d: %w: %s was stopped", f.Record, seq, schemas.ErrUnavailable, f.Name)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s %d: %w", f.Record, seq, ctx.Err())
		}
	}
}

package aggregate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/agentik-os/panda/aggregate"
)

// TestStopWakesWhoWaits: a request that waits for a commit is told when none will
// come, and waits again once counting goes on.
func TestStopWakesWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := aggregate.NewLive(aggregate.LiveConfig{}, nil)
		why := errors.New("the server ends")
		told := make(chan error, 1)
		wait := func() { told <- live.WaitFor(t.Context(), 7) }
		go wait()
		synctest.Wait()
		live.Stop(why)
		if err := <-told; !errors.Is(err, why) {
			t.Errorf("it was told %v", err)
		}
		if err := live.WaitFor(t.Context(), 7); !errors.Is(err, why) {
			t.Errorf("who comes later is told %v", err)
		}
		live.Stop(nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { told <- live.WaitFor(ctx, 7) }()
		synctest.Wait()
		select {
		case err := <-told:
			t.Errorf("counting goes on, and it was told %v", err)
		default:
		}
		cancel()
		if err := <-told; !errors.Is(err, context.Canceled) {
			t.Errorf("it was told %v", err)
		}
	})
}

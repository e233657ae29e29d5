package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneInsertATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		ctx := t.Context()
		done, err := all.take(ctx, "panda", "usage_raw")
		if err != nil {
			t.Fatal(err)
		}
		other, err := all.take(ctx, "panda", "usage_keys")
		if err != nil {
			t.Fatalf("another table waits too: %v", err)
		}
		other()
		leaves, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := all.take(leaves, "panda", "usage_raw"); err == nil {
			t.Error("two inserts at once")
		}
		if table, _ := all.stuck(time.Now().Add(-insertMax)); table != "" {
			t.Errorf("%s is stuck after a second", table)
		}
		all.settles("panda", "usage_raw")
		time.Sleep(insertMax)
		if table, doing := all.stuck(time.Now().Add(-insertMax)); table != "panda.usage_raw" || doing != turnSettles {
			t.Errorf("an insert that hangs: got %q, %q", table, doing)
		}
		second := make(chan error, 1)
		go func() {
			done, err := all.take(ctx, "panda", "usage_raw")
			if err == nil {
				done()
			}
			second <- err
		}()
		synctest.Wait()
		done()
		if err := <-second; err != nil {
			t.Errorf("the turn was not given on: %v", err)
		}
		if table, _ := all.stuck(time.Now().Add(time.Hour)); table != "" {
			t.Errorf("%s is stuck though nobody inserts", table)
		}
	})
}

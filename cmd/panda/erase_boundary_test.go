package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// fuse makes the n-th write of an erasure fail, before or after it was applied.
type fuse struct {
	at, writes int
	applied    bool
}

var errFuse = fmt.Errorf("the wire is cut: %w", schemas.ErrUnavailable)

func (f *fuse) run(write func() error) error {
	if f.writes++; f.writes != f.at {
		return write()
	}
	if f.applied {
		return errors.Join(errFuse, write())
	}
	return errFuse
}

type fusedDB struct {
	*warehouse.DB
	*fuse
}

func (d fusedDB) Exec(ctx context.Context, sql string, params ...warehouse.Param) error {
	return d.run(func() error { return d.DB.Exec(ctx, sql, params...) })
}

func (d fusedDB) Insert(ctx context.Context, table string, columns ...warehouse.Column) error {
	return d.run(func() error { return d.DB.Insert(ctx, table, columns...) })
}

func (d fusedDB) Forget(ctx context.Context, tables ...string) (replaced, detached int, err error) {
	err = d.run(func() (err error) { replaced, detached, err = d.DB.Forget(ctx, tables...); return err })
	return replaced, detached, err
}

type fusedLog struct {
	*eventlog.Log
	*fuse
}

func (l fusedLog) Erase(ctx context.Context, stream string, seqs []uint64) error {
	return l.run(func() error { return l.Log.Erase(ctx, stream, seqs) })
}

// Whichever write of an erasure fails, applied or not, everything agrees then, and the
// next call goes on from there; the certificate counts nothing twice.
func TestEraseGoesOnFromEveryWrite(t *testing.T) {
	t.Parallel()
	e := startErasingIn(t, true, 1)
	e.fill()
	want := e.figures(e.globex.ID)
	if _, err := e.registry.Delete(t.Context(), tenancy.Actor{ID: "system:test"}, e.acme.ID, 0); err != nil {
		t.Fatal(err)
	}
	f := &fuse{}
	cfg := e.shards[0].erasureConfig()
	eraser := erasure.New(cfg, fusedLog{e.log, f}, fusedDB{e.db, f}, e.shards[0].places)
	const writesMax = 40
	for n := 1; ; n++ {
		*f = fuse{at: n, applied: n%2 == 0}
		c, err := eraser.EraseTenant(t.Context(), e.acme.ID, tenancy.Actor{ID: "key:test"}, nil)
		if n > writesMax || err != nil && !errors.Is(err, errFuse) {
			t.Fatalf("write %d: %v", n, err)
		}
		if err == nil {
			if n < 10 || c.Check() != nil || c.Erased["usage_raw"] != 62 || c.Erased["log_messages"] != 65 || c.Erased["usage_keys"] != 63 {
				t.Errorf("after %d failures: %+v", n-1, c)
			}
			break
		}
		e.agrees(fmt.Sprintf("write %d failed, applied %t", n, f.applied))
	}
	e.gone("after all", e.secrets)
	e.agrees("after all")
	if got := e.figures(e.globex.ID); got != want {
		t.Errorf("another tenant has\n%s, and had\n%s", got, want)
	}
}

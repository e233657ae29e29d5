package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// laggingRegistry writes about a tenant as a node does that has not read of its erasure
// yet: right before that is recorded, and right after.
type laggingRegistry struct {
	erasureRegistry
	write func(name string) error
}

func (l laggingRegistry) Erased(ctx context.Context, by tenancy.Actor, tenant string, certificate json.RawMessage) (uint64, error) {
	if err := l.write("aaaabbbb"); err != nil {
		return 0, err
	}
	seq, err := l.erasureRegistry.Erased(ctx, by, tenant, certificate)
	if err != nil {
		return 0, err
	}
	return seq, l.write("ccccdddd")
}

// What a node that is behind writes about a tenant while that is erased is erased too,
// and what it writes later by the next sweep. Who erased it, from where, is in the audit
// log.
func TestEraseWhatCameLate(t *testing.T) {
	t.Parallel()
	e := startErasing(t)
	e.fill()
	by := tenancy.Actor{ID: "key:test", IP: "192.0.2.7"}
	if _, err := e.registry.Delete(t.Context(), by, e.acme.ID, 0); err != nil {
		t.Fatal(err)
	}
	write := func(id string) error {
		subject := fmt.Sprintf("control.key.%s.%s", e.acme.ID, id)
		body := fmt.Sprintf(`{"v":1,"type":"key.created","id":%q,"at":"2026-01-02T03:04:05Z","actor":"key:late","tenant_id":%q,"key":{"id":%q,"name":%q,"scopes":["read"],"hash":%q}}`,
			"late-"+id, e.acme.ID, id, e.secret("late"), strings.Repeat("00", 32))
		ack, err := e.log.Append(t.Context(), eventlog.Message{Subject: subject, ID: "late-" + id, Data: []byte(body)})
		if err != nil {
			return err
		}
		return e.registry.WaitFor(t.Context(), ack.Seq)
	}
	left := func() (n int) {
		t.Helper()
		_, err := e.log.Find(t.Context(), schemas.StreamControl, []string{"control.*." + e.acme.ID, "control.*." + e.acme.ID + ".>"}, ^uint64(0),
			func(*eventlog.Record) error { n++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	cfg := e.shards[0].erasureConfig()
	cfg.Registry = laggingRegistry{erasureRegistry{e.registry, e.log}, write}
	if _, err := erasure.New(cfg, e.log, e.db, e.shards[0].places).EraseTenant(t.Context(), e.acme.ID, by, nil); err != nil {
		t.Fatal(err)
	}
	if n := left(); n != 1 {
		t.Errorf("after the erasure there are %d records of the tenant, want the one of its erasure", n)
	}
	e.gone("after the erasure", e.secrets)

	if err := write("eeeeffff"); err != nil {
		t.Fatal(err)
	}
	if n, err := e.shards[0].eraser.Sweep(t.Context()); err != nil || n != 1 {
		t.Errorf("a sweep had %d to do, %v; want 1", n, err)
	}
	if n := left(); n != 1 {
		t.Errorf("after the sweep there are %d records of the tenant, want the one of its erasure", n)
	}
	e.gone("after the sweep", e.secrets)
	if n, err := e.shards[0].eraser.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("the sweep after that had %d to do, %v", n, err)
	}

	entries, _, err := e.registry.Audit(t.Context(), tenancy.ScopeOf("", "key:test", tenancy.PermissionAdmin),
		tenancy.AuditQuery{TenantID: e.acme.ID, Limit: 10})
	if err != nil || len(entries) != 1 || entries[0].Action != "tenant.erased" || entries[0].Actor != by.ID || entries[0].IP != by.IP {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
}

// deletedLongAgo deletes the tenant as if that was done before its data had to be kept.
func (e *erasing) deletedLongAgo() {
	e.t.Helper()
	past := tenancy.New(tenancy.Config{Now: func() time.Time { return time.Now().AddDate(0, 0, -2*tenancy.EraseAfterDays) }}, e.log)
	ctx, cancel := context.WithCancel(e.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- past.Run(ctx) }()
	<-past.Ready()
	t, err := past.Delete(e.t.Context(), tenancy.Actor{ID: "system:test"}, e.acme.ID, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		e.t.Fatal(err)
	}
	if err := e.registry.WaitFor(e.t.Context(), t.Revision); err != nil {
		e.t.Fatal(err)
	}
}

// A tenant whose time is over is erased within the hour, and panda jobs says so.
func TestEraseWhenDue(t *testing.T) {
	e := startErasing(t)
	e.fill()
	e.deletedLongAgo()
	job := func() rollup.JobStatus {
		t.Helper()
		for _, s := range e.jobs.Status() {
			if s.Name == "erase" {
				return s
			}
		}
		t.Fatal("there is no job that erases")
		return rollup.JobStatus{}
	}
	schedule, err := cron.ParseStandard(job().Schedule)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 27, 22, 0, 0, 0, time.UTC)
	for range 100 {
		next := schedule.Next(at)
		if next.Sub(at) > time.Hour {
			t.Fatalf("after %s nobody erases until %s", at, next)
		}
		at = next
	}
	if err := e.jobs.Trigger(t.Context(), "erase"); err != nil {
		t.Fatal(err)
	}
	if s := job(); s.Outcome != rollup.OutcomeOK || s.Detail != "1 tenant erased, 0 erasures carried out again" || s.LastRun.IsZero() {
		t.Errorf("the job says %+v", s)
	}
	if tenant, ok := e.registry.ByID(e.acme.ID); !ok || tenant.Status != tenancy.StatusErased {
		t.Errorf("the registry has %+v", tenant)
	}
	e.gone("after the job", e.secrets)
}

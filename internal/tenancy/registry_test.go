package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var someone = Actor{ID: "key:test", IP: "203.0.113.42"}

// start runs a registry until the test ends.
func start(t *testing.T, log Log) *Registry {
	t.Helper()
	return startAt(t, log, nil)
}

// startAt is start with a clock.
func startAt(t *testing.T, log Log, now func() time.Time) *Registry {
	t.Helper()
	r := New(Config{Now: now, Logger: zerolog.New(zerolog.NewTestWriter(t))}, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the registry did not catch up")
	}
	return r
}

func acme(key string) NewTenant {
	return NewTenant{Name: "Acme Corporation", Slug: "acme-corp", Plan: PlanPro, BillingEmail: "billing@acme.com",
		MonthlyBudget: schemas.Mul(schemas.PicoPerUSD, 1000), HasBudget: true, RequestKey: key}
}

func create(t *testing.T, r *Registry, n NewTenant) Tenant {
	t.Helper()
	made, replayed, err := r.CreateTenant(t.Context(), someone, n)
	if err != nil || replayed {
		t.Fatalf("create: replayed %t: %v", replayed, err)
	}
	return made
}

func TestCreateTenantIsReadAtOnceAndElsewhere(t *testing.T) {
	log := eventlogtest.Open(t)
	here, there := start(t, log), start(t, log)
	made := create(t, here, acme(""))
	if !ValidTenantID(made.ID) || made.Status != StatusTrial || made.Revision == 0 {
		t.Errorf("made %+v", made)
	}
	if got, ok := here.BySlug("acme-corp"); !ok || !reflect.DeepEqual(got, made) {
		t.Errorf("by slug: %+v", got)
	}
	if err := there.WaitFor(t.Context(), made.Revision); err != nil {
		t.Fatal(err)
	}
	if got, ok := there.ByID(made.ID); !ok || !reflect.DeepEqual(got, made) {
		t.Errorf("the other node has %+v", got)
	}
	// A registry that starts later folds the same.
	if diff := cmp.Diff(here.List(), start(t, log).List(), cmpopts.EquateComparable(schemas.Money{})); diff != "" {
		t.Error(diff)
	}
}

func TestAuditRecord(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	made := create(t, r, acme("req-1"))
	_, err := r.UpdateTenant(t.Context(), Actor{ID: "key:other", IP: "198.51.100.1"}, made.ID, made.Revision,
		func(t *Tenant) error { t.QuotaOverrides = QuotaOverrides{MaxMonthlyTokens: 100_000_000}; return nil })
	if err != nil {
		t.Fatal(err)
	}
	rec, ok, err := log.LastForSubject(t.Context(), schemas.StreamControl, "control.tenant."+made.ID)
	if err != nil || !ok {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(rec.Data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"max_monthly_tokens": map[string]any{"from": float64(50_000_000), "to": float64(100_000_000)}}
	if diff := cmp.Diff(want, got["changes"]); diff != "" {
		t.Error(diff)
	}
	if got["actor"] != "key:other" || got["ip"] != "198.51.100.1" || got["type"] != "tenant.updated" || got["v"] != 1.0 || got["at"] == nil {
		t.Errorf("record is %s", rec.Data)
	}
}

func TestSameRequestSameTenant(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	made := create(t, r, acme("req-1"))
	for _, node := range []*Registry{r, start(t, log)} {
		again, replayed, err := node.CreateTenant(t.Context(), someone, acme("req-1"))
		if err != nil || !replayed || !reflect.DeepEqual(again, made) {
			t.Errorf("the same request again: %+v, replayed %t: %v", again, replayed, err)
		}
		other := acme("req-1")
		other.Name = "Another"
		if _, _, err := node.CreateTenant(t.Context(), someone, other); !errors.Is(err, ErrRequestReused) || !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("the same key with another body: %v", err)
		}
		if _, _, err := node.CreateTenant(t.Context(), someone, acme("req-2")); !errors.Is(err, schemas.ErrConflict) || errors.Is(err, ErrRequestReused) {
			t.Errorf("a taken slug: %v", err)
		}
	}
	if n := len(r.List()); n != 1 {
		t.Errorf("%d tenants", n)
	}
}

// Many nodes, each behind by a little, create the same slug at once.
func TestOneSlugManyNodes(t *testing.T) {
	log := eventlogtest.Open(t)
	var nodes []*Registry
	for range 4 {
		nodes = append(nodes, start(t, log))
	}
	var mu sync.Mutex
	var won []string
	var work sync.WaitGroup
	for i, node := range nodes {
		for j := range 4 {
			work.Go(func() {
				made, _, err := node.CreateTenant(t.Context(), someone, acme(fmt.Sprint("req-", i, j)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, made.ID)
				case !errors.Is(err, schemas.ErrConflict):
					t.Errorf("create: %v", err)
				}
			})
		}
	}
	work.Wait()
	if len(won) != 1 {
		t.Errorf("%d requests made the tenant: %v", len(won), won)
	}
	if got, _ := nodes[3].BySlug("acme-corp"); len(won) == 1 && got.ID != won[0] {
		t.Errorf("node 3 has %s, want %s", got.ID, won[0])
	}
	state, err := log.State(t.Context(), schemas.StreamControl)
	if err != nil || state.Messages != 1 {
		t.Errorf("%d records for one tenant: %v", state.Messages, err)
	}
}

// One idempotency key races with itself for two slugs: one is made, every node
// agrees which, and the other slug is free.
func TestOneRequestKeyTwoSlugs(t *testing.T) {
	log := eventlogtest.Open(t)
	nodes := []*Registry{start(t, log), start(t, log)}
	slugs := []string{"alpha", "beta"}
	results := make([]error, 2)
	var work sync.WaitGroup
	for i, node := range nodes {
		work.Go(func() {
			_, _, results[i] = node.CreateTenant(t.Context(), someone, NewTenant{Name: slugs[i], Slug: slugs[i], RequestKey: "same"})
		})
	}
	work.Wait()
	lost := 0
	if results[0] == nil {
		lost = 1
	}
	if results[1-lost] != nil || !errors.Is(results[lost], ErrRequestReused) {
		t.Fatalf("results are %v", results)
	}
	create(t, nodes[0], NewTenant{Name: "x", Slug: slugs[lost]})
	if n := len(nodes[0].List()); n != 2 {
		t.Errorf("%d tenants, want 2", n)
	}
}

// flaky fails appends, before or after they are stored.
type flaky struct {
	*eventlog.Log
	before, after int
}

func (f *flaky) Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error) {
	if f.before > 0 {
		f.before--
		return eventlog.Ack{}, schemas.ErrUnavailable
	}
	ack, err := f.Log.Append(ctx, m)
	if f.after > 0 && err == nil {
		f.after--
		return eventlog.Ack{}, schemas.ErrUnavailable
	}
	return ack, err
}

// The append fails, or is stored and its answer is lost: the same request again
// ends with one tenant either way.
func TestCreateFailedAndFailedButApplied(t *testing.T) {
	for name, f := range map[string]flaky{"failed": {before: 1}, "applied": {after: 1}} {
		t.Run(name, func(t *testing.T) {
			f.Log = eventlogtest.Open(t)
			r := start(t, &f)
			if _, _, err := r.CreateTenant(t.Context(), someone, acme("req")); !errors.Is(err, schemas.ErrUnavailable) {
				t.Fatalf("the first try: %v", err)
			}
			made, _, err := r.CreateTenant(t.Context(), someone, acme("req"))
			if err != nil || made.Slug != "acme-corp" || len(r.List()) != 1 {
				t.Errorf("the second try: %+v: %v", made, err)
			}
		})
	}
}

func TestUpdateTenant(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	made := create(t, r, acme(""))
	suspend := func(t *Tenant) error { t.Status, t.ID, t.Slug = StatusSuspended, "ten_forged", "forged"; return nil }
	next, err := r.UpdateTenant(t.Context(), someone, made.ID, made.Revision, suspend)
	if err != nil || next.Served() || next.ID != made.ID || next.Slug != made.Slug || next.Revision <= made.Revision {
		t.Fatalf("updated to %+v: %v", next, err)
	}
	if _, err := r.UpdateTenant(t.Context(), someone, made.ID, made.Revision, suspend); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("an old revision: %v", err)
	}
	if same, err := r.UpdateTenant(t.Context(), someone, made.ID, 0, suspend); err != nil || same.Revision != next.Revision {
		t.Errorf("a change of nothing: %+v: %v", same, err)
	}
	if _, err := r.UpdateTenant(t.Context(), someone, "ten_x", 0, suspend); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown tenant: %v", err)
	}
	bad := func(t *Tenant) error { t.Plan = "gold"; return nil }
	if _, err := r.UpdateTenant(t.Context(), someone, made.ID, 0, bad); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an unknown plan: %v", err)
	}
}

func TestKeys(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	made := create(t, r, acme(""))
	n := NewKey{ID: "abcdefgh", TenantID: made.ID, Name: "runtime", Scopes: []Permission{PermissionIngest}, Hash: [32]byte{1}}
	key, err := r.CreateKey(t.Context(), someone, n)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := r.KeyByID("abcdefgh"); !ok || got.Hash != n.Hash || got.TenantID != made.ID || got.Revoked() {
		t.Errorf("key is %+v", got)
	}
	if _, err := r.CreateKey(t.Context(), someone, n); !errors.Is(err, ErrKeyIDTaken) {
		t.Errorf("the same id again: %v", err)
	}
	other := n
	other.ID, other.TenantID = "bcdefgha", "ten_unknown"
	if _, err := r.CreateKey(t.Context(), someone, other); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key of nobody: %v", err)
	}
	other.TenantID, other.Scopes = made.ID, []Permission{"root", PermissionRead, PermissionRead}
	if _, err := r.CreateKey(t.Context(), someone, other); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an unknown scope: %v", err)
	}
	for _, scope := range []Scope{{}, ScopeOf("ten_other", "x", PermissionAdmin)} {
		if _, err := r.RevokeKey(t.Context(), scope, "", key.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("revoked by %+v: %v", scope, err)
		}
	}
	for range 2 {
		gone, err := r.RevokeKey(t.Context(), ScopeOf(made.ID, "x", PermissionAdmin), "", key.ID)
		if err != nil || !gone.Revoked() {
			t.Errorf("revoke: %+v: %v", gone, err)
		}
	}
	if keys := r.KeysOf(made.ID); len(keys) != 1 || !keys[0].Revoked() {
		t.Errorf("keys are %+v", keys)
	}
	platform := NewKey{ID: "ccccccca", Name: "admin", Scopes: Permissions(), Hash: [32]byte{2}}
	if _, err := r.CreateKey(t.Context(), someone, platform); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RevokeKey(t.Context(), ScopeOf(made.ID, "x", PermissionAdmin), "", "ccccccca"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a tenant revokes a key of the platform: %v", err)
	}
}

func TestNothingIsKnownBeforeTheFirstCatchUp(t *testing.T) {
	r := New(Config{}, eventlogtest.Open(t))
	if _, _, err := r.CreateTenant(t.Context(), someone, acme("")); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("create before ready: %v", err)
	}
	if err := r.Check(t.Context()); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("check before ready: %v", err)
	}
}

func TestRunStopsAtWhatItCannotRead(t *testing.T) {
	log := eventlogtest.Open(t)
	_, err := log.Append(t.Context(), eventlog.Message{Subject: "control.key.platform.aaaaaaaa", Data: []byte(`{"v":2,"type":"key.created"}`)})
	if err != nil {
		t.Fatal(err)
	}
	r := New(Config{}, log)
	if err := r.Run(t.Context()); err == nil || r.Check(t.Context()) == nil {
		t.Errorf("run over an unknown version: %v", err)
	}
	if _, ok := r.KeyByID("aaaaaaaa"); ok {
		t.Error("a key of an unknown version exists")
	}
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	_, _, err := r.CreateTenant(t.Context(), someone, NewTenant{Name: " ", Slug: "A", Plan: "gold", BillingEmail: "x",
		MonthlyBudget: schemas.Pico(-1), HasBudget: true, StripeCustomerID: "42",
		QuotaOverrides: QuotaOverrides{MaxMonthlyTokens: -2, "max_gold": 1}, Budgets: []Budget{{Kind: "team", Name: "x", MonthlyBudget: schemas.Pico(1)}}})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("got %v", err)
	}
	var pointers []string
	for _, e := range joined.Unwrap() {
		var f *schemas.FieldError
		if errors.As(e, &f) {
			pointers = append(pointers, f.Pointer)
		}
	}
	want := []string{"/name", "/slug", "/plan", "/billing_email", "/monthly_budget", "/stripe_customer_id",
		"/quotas/max_gold", "/quotas/max_monthly_tokens", "/budgets/0/kind"}
	if diff := cmp.Diff(want, pointers); diff != "" {
		t.Error(diff)
	}
}

func TestListAfter(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	for _, slug := range []string{"cc", "aa", "dd", "bb"} {
		create(t, r, NewTenant{Name: slug, Slug: slug})
	}
	slugs := func(list []Tenant) (out []string) {
		for _, t := range list {
			out = append(out, t.Slug)
		}
		return out
	}
	for _, row := range []struct {
		after string
		limit int
		want  []string
	}{{"", 0, []string{"aa", "bb", "cc", "dd"}}, {"", 2, []string{"aa", "bb"}}, {"bb", 2, []string{"cc", "dd"}}, {"bbb", 1, []string{"cc"}}, {"dd", 5, nil}} {
		if diff := cmp.Diff(row.want, slugs(r.ListAfter(row.after, row.limit))); diff != "" {
			t.Errorf("after %q: %s", row.after, diff)
		}
	}
}

// A registry that has heard nothing for too long says so, though it goes on
// answering.
func TestCheckNoticesSilence(t *testing.T) {
	now := day
	r := New(Config{Now: func() time.Time { return now }, SilenceMax: 5 * time.Second}, nil)
	r.markHeard(0)
	now = now.Add(5 * time.Second)
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	now = now.Add(time.Second)
	if err := r.Check(t.Context()); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("beyond the limit: %v", err)
	}
}

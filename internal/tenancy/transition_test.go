package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// Every move from every state. A row is a path from a new tenant: its moves, and the
// state after the last, or what the last is refused with.
func TestMovesOfATenant(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 0, 0, 0, time.UTC)
	r := startAt(t, eventlogtest.Open(t), func() time.Time { return now })
	moves := map[string]func(ctx context.Context, id string) (Tenant, error){
		"suspend":  func(ctx context.Context, id string) (Tenant, error) { return r.Suspend(ctx, someone, id, 0, "unpaid") },
		"resume":   func(ctx context.Context, id string) (Tenant, error) { return r.Resume(ctx, someone, id, 0) },
		"activate": func(ctx context.Context, id string) (Tenant, error) { return r.Activate(ctx, someone, id, 0) },
		"delete":   func(ctx context.Context, id string) (Tenant, error) { return r.Delete(ctx, someone, id, 0) },
		"restore":  func(ctx context.Context, id string) (Tenant, error) { return r.Restore(ctx, someone, id, 0) },
		"begin":    func(ctx context.Context, id string) (Tenant, error) { return r.BeginErasure(ctx, someone, id) },
		"erase": func(ctx context.Context, id string) (Tenant, error) {
			return r.Erased(ctx, someone, id, json.RawMessage(`{}`))
		},
	}
	for i, row := range []struct {
		path, want string
	}{
		{"suspend", "suspended"},
		{"suspend suspend", "suspended"},
		{"suspend resume", "trial"},
		{"activate", "active"},
		{"activate activate", "active"},
		{"activate suspend resume", "active"},
		{"suspend activate", "only a trial"},
		{"resume", "trial"},
		{"delete", "deleted"},
		{"delete delete", "deleted"},
		{"delete restore", "trial"},
		{"activate delete restore", "active"},
		{"suspend delete restore", "suspended"},
		{"activate suspend delete restore resume", "active"},
		{"delete suspend", "restore it first"},
		{"delete resume", "restore it"},
		{"suspend restore", "resume it"},
		{"erase", "only a deleted tenant"},
		{"delete erase", "erased"},
		{"delete erase erase", "erased"},
		{"delete erase restore", "not found"},
		{"begin", "only a deleted one"},
		{"delete begin begin", "deleted"},
		{"delete begin restore", "being erased"},
		{"delete restore begin", "only a deleted one"},
		{"delete begin erase", "erased"},
	} {
		made := create(t, r, NewTenant{Name: row.path, Slug: "tenant-" + string(rune('a'+i))})
		var got Tenant
		var err error
		for _, move := range strings.Fields(row.path) {
			got, err = moves[move](t.Context(), made.ID)
		}
		if err != nil && !strings.Contains(err.Error(), row.want) || err == nil && string(got.Status) != row.want {
			t.Errorf("%s: %s, %v; want %s", row.path, got.Status, err, row.want)
		}
		if got.Status == StatusDeleted && !got.EraseAt.Equal(now.AddDate(0, 0, EraseAfterDays)) {
			t.Errorf("%s: will be erased at %s", row.path, got.EraseAt)
		}
		if got.Served() != (got.Status == StatusTrial || got.Status == StatusActive) {
			t.Errorf("%s: served %t", row.path, got.Served())
		}
	}
}

func TestDueTenants(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 0, 0, 0, time.UTC)
	r := startAt(t, eventlogtest.Open(t), func() time.Time { return now })
	gone, trial := create(t, r, acme("")), create(t, r, NewTenant{Name: "T", Slug: "on-trial"})
	if _, err := r.Delete(t.Context(), someone, gone.ID, 0); err != nil {
		t.Fatal(err)
	}
	ids := func(list []Tenant) (out []string) {
		for _, t := range list {
			out = append(out, t.ID)
		}
		return out
	}
	for _, row := range []struct {
		days         int
		erase, trial []string
	}{{13, nil, nil}, {14, nil, []string{trial.ID}}, {29, nil, []string{trial.ID}}, {30, []string{gone.ID}, []string{trial.ID}}} {
		at := now.AddDate(0, 0, row.days)
		if diff := cmp.Diff(row.erase, ids(r.EraseDue(at))); diff != "" {
			t.Errorf("day %d, to erase: %s", row.days, diff)
		}
		if diff := cmp.Diff(row.trial, ids(r.TrialsOver(at))); diff != "" {
			t.Errorf("day %d, trials: %s", row.days, diff)
		}
	}
}

// An erased tenant is its id and the certificate: here, on a node that follows, on one
// that starts later, and on one that starts when its records are gone from the log.
func TestErasedTenantLeavesItsIDAlone(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	n := acme("req-1")
	n.OrgID = "org_acme"
	made := create(t, r, n)
	kept := create(t, r, NewTenant{Name: "Globex", Slug: "globex"})
	add(t, r, made.ID, "user@acme.com", RoleOwner)
	if _, err := r.CreateKey(t.Context(), someone, NewKey{ID: "abcdefgh", TenantID: made.ID, Name: "k",
		Scopes: []Permission{PermissionRead}, Hash: [32]byte{1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Delete(t.Context(), someone, made.ID, 0); err != nil {
		t.Fatal(err)
	}
	found, _ := r.ByID(made.ID)
	erased, err := r.Erased(t.Context(), someone, made.ID, json.RawMessage(`{"rows":7}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Tenant{ID: made.ID, Status: StatusErased, ErasedAt: erased.ErasedAt, UpdatedAt: erased.ErasedAt,
		Certificate: json.RawMessage(`{"rows":7}`), Revision: erased.Revision}
	check := func(name string, r *Registry) {
		t.Helper()
		got, _ := r.ByID(made.ID)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(schemas.Money{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		_, key := r.KeyByID("abcdefgh")
		_, slug := r.BySlug("acme-corp")
		if key || slug || len(r.MembersOf(made.ID)) != 0 || len(r.List()) != 1 || len(r.fold.made) != 1 || len(r.fold.orgs) != 0 {
			t.Errorf("%s: something is left: key %t, slug %t, %+v", name, key, slug, r.List())
		}
	}
	check("here", r)
	check("later", start(t, log))
	// All records of the tenant, and then the one that says so again.
	for _, subject := range SubjectsOf(&found) {
		if err := log.Purge(t.Context(), schemas.StreamControl, subject); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := start(t, log).ByID(made.ID); ok {
		t.Error("the tenant came back")
	}
	if again := create(t, r, acme("req-2")); again.ID == made.ID {
		t.Error("the slug's next tenant is the same one")
	}
	if _, ok := start(t, log).ByID(kept.ID); !ok {
		t.Error("another tenant is gone")
	}
}

func TestRotatedKeyEndsLater(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 0, 0, 0, time.UTC)
	r := startAt(t, eventlogtest.Open(t), func() time.Time { return now })
	made := create(t, r, acme(""))
	for _, id := range []string{"abcdefgh", "bcdefghi"} {
		if _, err := r.CreateKey(t.Context(), someone, NewKey{ID: id, TenantID: made.ID, Name: "k",
			Scopes: []Permission{PermissionRead}, Hash: [32]byte{id[0]}}); err != nil {
			t.Fatal(err)
		}
	}
	own := ScopeOf(made.ID, "x", PermissionAdmin)
	if _, err := r.RotateKey(t.Context(), own, "", "abcdefgh", "bcdefghi", RotateOverlapMax+1); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an overlap without end: %v", err)
	}
	if _, err := r.RotateKey(t.Context(), ScopeOf("ten_other", "x", PermissionAdmin), "", "abcdefgh", "x", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's key: %v", err)
	}
	old, err := r.RotateKey(t.Context(), own, "", "abcdefgh", "bcdefghi", time.Hour)
	if err != nil || old.RotatedTo != "bcdefghi" {
		t.Fatalf("%+v: %v", old, err)
	}
	if !old.Works(now.Add(time.Hour-1)) || old.Works(now.Add(time.Hour)) {
		t.Errorf("works until %s", old.ExpiresAt)
	}
	if _, err := r.RotateKey(t.Context(), own, "", "abcdefgh", "bcdefghi", 0); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("rotated twice: %v", err)
	}
	if got, _ := start(t, r.log).KeyByID("abcdefgh"); !cmp.Equal(got, old) {
		t.Errorf("another node: %+v", got)
	}
}

// A rotation that comes in between does not save a key from its revocation.
func TestRevocationOutlivesARotation(t *testing.T) {
	log := eventlogtest.Open(t)
	r, other := start(t, log), start(t, log)
	made := create(t, r, acme(""))
	own := ScopeOf(made.ID, "x", PermissionAdmin)
	for _, id := range []string{"abcdefgh", "bcdefghi"} {
		if _, err := r.CreateKey(t.Context(), someone, NewKey{ID: id, TenantID: made.ID, Name: "k",
			Scopes: []Permission{PermissionRead}, Hash: [32]byte{id[0]}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.WaitFor(t.Context(), r.Position()); err != nil {
		t.Fatal(err)
	}
	r.log = between{log, sync.OnceFunc(func() {
		if _, err := other.RotateKey(t.Context(), own, "", "abcdefgh", "bcdefghi", time.Hour); err != nil {
			t.Error(err)
		}
	})}
	gone, err := r.RevokeKey(t.Context(), own, "", "abcdefgh")
	if err != nil || !gone.Revoked() || gone.Works(time.Now()) {
		t.Errorf("%+v: %v", gone, err)
	}
}

// between is a log on which something happens before the next append.
type between struct {
	Log
	first func()
}

func (b between) Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error) {
	b.first()
	return b.Log.Append(ctx, m)
}

// What may be done to a member is decided about the member as they are by then.
func TestOwnerMadeInBetweenIsGuarded(t *testing.T) {
	log := eventlogtest.Open(t)
	r, other := start(t, log), start(t, log)
	made := create(t, r, acme(""))
	add(t, r, made.ID, "owner@acme.com", RoleOwner)
	m := add(t, r, made.ID, "m@acme.com", RoleMember)
	if err := other.WaitFor(t.Context(), r.Position()); err != nil {
		t.Fatal(err)
	}
	refuse := errors.New("owners are not for admins to change")
	guard := func(m Member) error {
		if m.Role == RoleOwner {
			return refuse
		}
		return nil
	}
	r.log = between{log, sync.OnceFunc(func() {
		if _, err := other.ChangeRole(t.Context(), someone, made.ID, m.ID, RoleOwner, nil); err != nil {
			t.Error(err)
		}
	})}
	if now, err := r.ChangeRole(t.Context(), someone, made.ID, m.ID, RoleViewer, guard); !errors.Is(err, refuse) {
		t.Errorf("%+v: %v", now, err)
	}
	if err := r.RemoveMember(t.Context(), someone, made.ID, m.ID, guard); !errors.Is(err, refuse) {
		t.Errorf("removed: %v", err)
	}
}

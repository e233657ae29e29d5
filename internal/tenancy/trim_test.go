package tenancy

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
)

// Refused attempts end, by age and by number, each tenant's for itself; what was done
// stays, and a registry that reads the log anew is the same.
func TestTrimAttempts(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	one, other := create(t, r, acme("")), create(t, r, NewTenant{Name: "Globex", Slug: "globex"})
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	a := NewAttempts(log, zerolog.Nop())
	refuse := func(tenant, action string, age time.Duration) {
		t.Helper()
		if err := a.write(t.Context(), &pending{Attempt: Attempt{By: someone, TenantID: tenant, Action: action, Code: "conflict"}, times: 1}, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	refuse(one.ID, "too old", AttemptsAge+time.Second)
	refuse("", "too old", AttemptsAge+time.Second)
	if err := r.Record(t.Context(), someone, one.ID, "tenant.provisioned", map[string]any{"template": "x"}); err != nil {
		t.Fatal(err)
	}
	const most = 3
	for i := range most + 2 {
		refuse(one.ID, fmt.Sprint("of one ", i), AttemptsAge-time.Minute+time.Duration(i)*time.Second)
	}
	refuse(other.ID, "of the other", AttemptsAge)
	refuse("", "of the platform", 0)
	if _, err := r.Suspend(t.Context(), someone, other.ID, 0, ""); err != nil {
		t.Fatal(err)
	}
	if gone, err := trimAttempts(t.Context(), log, now, most); err != nil || gone != 4 {
		t.Errorf("%d went, %v; want the two that are too old and two too many", gone, err)
	}
	if gone, err := trimAttempts(t.Context(), log, now, most); err != nil || gone != 0 {
		t.Errorf("%d went the second time, %v", gone, err)
	}
	entries, _, err := r.Audit(t.Context(), ScopeOf("", "key:p", PermissionAdmin), AuditQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		word := e.Action
		if e.Outcome == OutcomeRefused {
			word = fmt.Sprint(e.Changes["route"].To)
		}
		got = append(got, word)
	}
	if diff := cmp.Diff([]string{"tenant.suspended", "of the platform", "of the other", "of one 4", "of one 3", "of one 2", "tenant.provisioned",
		"tenant.created", "tenant.created"}, got); diff != "" {
		t.Error(diff)
	}
	again := start(t, log)
	if !reflect.DeepEqual(r.List(), again.List()) || again.Refused() != 0 {
		t.Errorf("read anew it is another registry, %d records passed over:\n%+v\n%+v", again.Refused(), again.List(), r.List())
	}
}

package tenancy

import (
	"testing"
	"time"
)

// Terms follow the plan, the storage limit and the status; what nobody pays for changes
// nothing, and times do not go back.
func TestTermsAreWhatWasAgreed(t *testing.T) {
	catalog, err := DefaultCatalog()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	e := &entry{}
	step := func(hours int, change func(*Tenant)) {
		change(&e.Tenant)
		e.agree(catalog, start.Add(time.Duration(hours)*time.Hour))
	}
	step(0, func(t *Tenant) { t.Plan, t.Status = PlanStarter, StatusTrial })
	step(1, func(t *Tenant) { t.Name = "Acme" })
	step(2, func(t *Tenant) { t.Status, t.StatusBefore = StatusSuspended, StatusTrial })
	step(3, func(t *Tenant) { t.Status, t.Plan = StatusActive, PlanPro })
	step(1, func(t *Tenant) { t.QuotaOverrides = QuotaOverrides{MaxStorageGB: 500} })
	want := []Terms{
		{start, PlanStarter, StatusTrial, true, 10},
		{start.Add(2 * time.Hour), PlanStarter, StatusSuspended, true, 10},
		{start.Add(3 * time.Hour), PlanPro, StatusActive, false, 100},
		{start.Add(3 * time.Hour), PlanPro, StatusActive, false, 500},
	}
	if len(e.terms) != len(want) {
		t.Fatalf("%+v", e.terms)
	}
	for i := range want {
		if e.terms[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, e.terms[i], want[i])
		}
	}
}

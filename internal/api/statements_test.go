package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// newBilling has everybody on the pro plan since the month of the stack's clock.
func (s *stack) newBilling() *rollup.Billing {
	card, err := bill.DefaultRates()
	if err != nil {
		s.t.Fatal(err)
	}
	s.billedAt.Store(s.now.UnixMilli())
	first := schemas.WindowOf(schemas.GrainMonth, s.now).Start
	return rollup.NewBilling(rollup.BillingConfig{PlanVersion: card.Version, Now: func() time.Time { return time.UnixMilli(s.billedAt.Load()) },
		Spans: func(_ string, month schemas.Window) ([]bill.Span, error) {
			if month.Start.Before(first) {
				return nil, nil
			}
			return SpansOf([]tenancy.Terms{{From: first, Plan: tenancy.PlanPro, Status: tenancy.StatusActive, StorageGB: 100}}, card, month)
		}}, s.db, s.log)
}

// A month is a draft until its grace has passed and the platform closes it; a tenant
// reads its own statements and nobody else's.
func TestStatements(t *testing.T) {
	s := newStack(t)
	month := schemas.WindowOf(schemas.GrainMonth, s.now)
	path := "/v1/tenants/acme-corp/statements"
	draft := into[bill.Statement](t, s.get(s.acme.key, path+"/"+month.String()))
	if draft.Sealed || draft.Total != 4900 || draft.Tenant != s.acme.ID || len(draft.Lines) != 1 {
		t.Errorf("draft %+v", draft)
	}
	if got := s.ask(s.platform, "POST", path+"/"+month.String()+"/close", ""); got.status != 409 {
		t.Errorf("an open month was closed: %d %s", got.status, got.body)
	}
	s.billedAt.Store(month.End().Add(72 * time.Hour).UnixMilli())
	if got := s.ask(s.acme.key, "POST", path+"/"+month.String()+"/close", ""); got.status != 403 {
		t.Errorf("a tenant closed its month: %d %s", got.status, got.body)
	}
	sealed := into[bill.Statement](t, s.ask(s.platform, "POST", path+"/"+month.String()+"/close", ""))
	again := into[bill.Statement](t, s.ask(s.platform, "POST", path+"/"+month.String()+"/close", ""))
	if !sealed.Sealed || sealed.Total != 4900 || again.Checksum != sealed.Checksum {
		t.Errorf("sealed %+v, again %+v", sealed, again)
	}
	list := into[struct{ Items []statementHead }](t, s.get(s.acme.key, path))
	if len(list.Items) != 1 || list.Items[0].Checksum != sealed.Checksum {
		t.Errorf("list %+v", list)
	}
	if as := into[bill.Statement](t, s.get(s.acme.key, path+"/"+month.String()+"?as_of=1")); as.Sealed || as.AsOf != 1 {
		t.Errorf("as of 1: %+v", as)
	}
	before := schemas.WindowOf(schemas.GrainMonth, month.Start.AddDate(0, -1, 0)).String()
	for path, status := range map[string]int{
		"/v1/tenants/beta-industries/statements": 404, "/v1/tenants/beta-industries/statements/" + month.String(): 404,
		path + "/soon": 422, path + "/" + month.String() + "?forecast=1": 200, path + "/" + month.String() + "?forecast=1&as_of=1": 422, path + "/" + month.String() + "?as_of=0": 422,
	} {
		if got := s.get(s.acme.key, path); got.status != status {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := s.ask(s.platform, "POST", path+"/"+before+"/close", ""); got.status != 422 {
		t.Errorf("a month before the first was closed: %d %s", got.status, got.body)
	}
}

// Spans are what was agreed, cut to the month.
func TestSpansOfAMonth(t *testing.T) {
	card, err := bill.DefaultRates()
	if err != nil {
		t.Fatal(err)
	}
	day := func(d int) time.Time { return time.Date(2026, 2, d, 0, 0, 0, 0, time.UTC) }
	terms := []tenancy.Terms{
		{From: day(1).AddDate(0, -1, 0), Plan: "starter", Status: tenancy.StatusTrial, Trial: true, StorageGB: 10},
		{From: day(3), Plan: "starter", Status: tenancy.StatusActive, StorageGB: 10},
		{From: day(5), Plan: "starter", Status: tenancy.StatusSuspended, StorageGB: 10},
		{From: day(6), Plan: "starter", Status: tenancy.StatusActive, StorageGB: 10},
		{From: day(10), Plan: "pro", Status: tenancy.StatusActive, StorageGB: -1},
		{From: day(20), Plan: "pro", Status: tenancy.StatusDeleted, StorageGB: -1},
		{From: day(25), Plan: "pro", Status: tenancy.StatusActive, StorageGB: -1},
	}
	short := func(month string) string {
		window, err := schemas.ParseMonth(month)
		if err != nil {
			t.Fatal(err)
		}
		spans, err := SpansOf(terms, card, window)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, sp := range spans {
			list = append(list, fmt.Sprintf("%s-%s %s %t %d", sp.From.Format("0102"), sp.To.Format("0102"), sp.Plan, sp.Trial, sp.StorageGB))
		}
		return strings.Join(list, ", ")
	}
	for month, want := range map[string]string{
		"2025-12": "", "2026-01": "0101-0201 starter true 10", "2026-03": "0301-0401 pro false -1",
		"2026-02": "0201-0203 starter true 10, 0203-0210 starter false 10, 0210-0220 pro false -1, 0225-0301 pro false -1",
	} {
		if got := short(month); got != want {
			t.Errorf("%s: %s, want %s", month, got, want)
		}
	}
	terms[4].Plan = "moon"
	if _, err := SpansOf(terms, card, schemas.WindowOf(schemas.GrainMonth, day(1))); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a plan without rates: %v", err)
	}
}

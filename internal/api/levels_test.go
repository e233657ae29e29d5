package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
)

type gotLevels struct {
	Levels []struct {
		Name         string
		Quota        string
		Current      string
		Max          any
		Unit         string
		Percent      *int
		AtLimit      bool       `json:"at_limit"`
		CurrentBytes *int64     `json:"current_bytes"`
		MeasuredAt   *time.Time `json:"measured_at"`
	}
}

// lines writes levels as a person would.
func (g *gotLevels) lines() (lines []string) {
	for _, l := range g.Levels {
		current, percent, limit := "?", "-", ""
		if l.Current != "" {
			current = l.Current
		}
		if l.Percent != nil {
			percent = fmt.Sprint(*l.Percent)
		}
		if l.AtLimit {
			limit = " at limit"
		}
		lines = append(lines, fmt.Sprintf("%s %s/%v %s %s%%%s", l.Name, current, l.Max, l.Unit, percent, limit))
	}
	return lines
}

func sample(id string, at time.Time, levels string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/r","type":"resource.sample","time":%q,"data":{"levels":%s}}`,
		id, at.Format(time.RFC3339Nano), levels)
}

// Levels are what was reported last, tokens are those of the month, and each is held
// against the quota that applies to the tenant.
func TestUsageLevels(t *testing.T) {
	s := newStack(t)
	path := "/v1/tenants/acme-corp/usage-levels"
	unlimited := into[gotLevels](t, s.get(s.acme.key, path))
	if diff := cmp.Diff([]string{"agents 0/unlimited agents -%", "tokens 0/unlimited tokens -%", "storage 0/unlimited GB -%",
		"sessions 0/unlimited sessions -%", "calls_per_minute ?/unlimited calls/min -%"}, unlimited.lines()); diff != "" {
		t.Errorf("of a new tenant (-want +got):\n%s", diff)
	}
	if _, err := s.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "test"}, s.acme.ID, 0, func(of *tenancy.Tenant) error {
		of.QuotaOverrides = tenancy.QuotaOverrides{tenancy.MaxAgents: 100, tenancy.MaxMonthlyTokens: 1000, tenancy.MaxStorageGB: 100, tenancy.MaxConcurrentSessions: 0}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.send(s.acme.key,
		sample("l1", s.now, `{"agents":100,"storage_gb":47.3,"concurrent_sessions":0}`),
		sample("l0", s.now.Add(-time.Hour), `{"agents":7}`), // older, and later on the log
		call("c1", s.now, `"model":"alpha","tokens":{"input":800,"output":7}`),
		call("c0", s.now.AddDate(0, -1, 0), `"model":"alpha","tokens":{"input":5000}`), // of the month before
	)
	got := into[gotLevels](t, s.get(s.platform, path))
	if diff := cmp.Diff([]string{"agents 100/100 agents 100% at limit", "tokens 807/1000 tokens 80%", "storage 47.3/100 GB 47%",
		"sessions 0/0 sessions 100% at limit", "calls_per_minute ?/unlimited calls/min -%"}, got.lines()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if l := got.Levels[2]; l.CurrentBytes == nil || *l.CurrentBytes != 47_300_000_000 || l.MeasuredAt == nil || !l.MeasuredAt.Equal(s.now) {
		t.Errorf("storage %+v", l)
	}
	if got.Levels[0].Quota != "max_agents" || got.Levels[1].MeasuredAt != nil {
		t.Errorf("%+v", got.Levels)
	}
	wantProblem(t, s.get(s.beta.key, path), 404, "not_found", "")
	s.down.Store(true)
	wantProblem(t, s.get(s.acme.key, path), 503, "unavailable", "")
}

func TestGigabytes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0", 1: "0.000000001", 1_000_000_000: "1", 47_300_000_000: "47.3", 1_000_000_010: "1.00000001"} {
		if got := gigabytes(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/rollup"
)

func TestSummaryJobsAndVerify(t *testing.T) {
	s := newStack(t)
	one := call("e1", s.now, `"model":"alpha","tokens":{"input":1000000}`)
	s.send(s.acme.key, one, call("e2", s.now, `"model":"mystery","tokens":{"output":3}`))
	s.publish(s.acme.ID, one)                                                       // a duplicate by another door
	s.publish(s.acme.ID, call("e1", s.now, `"model":"alpha","tokens":{"input":1}`)) // a conflict
	s.publish(s.beta.ID, "poison")
	seq := s.send(s.beta.key, call("e1", s.now, `"model":"alpha","tokens":{"input":1}`))
	s.rolledUp(seq)

	type summary struct {
		Events, Accepted, Duplicates, Conflicts, Quarantined, Late, Unpriced, Calls int64
		Tokens                                                                      int64 `json:"tokens_total"`
		Cost                                                                        string
		Position                                                                    struct{ Log, Ledger, Rollup uint64 }
	}
	got := into[summary](t, s.get(s.platform, "/v1/summary"))
	want := summary{Events: 6, Accepted: 3, Duplicates: 1, Conflicts: 1, Quarantined: 1, Late: 3, Unpriced: 1, Calls: 3, Tokens: 1_000_004, Cost: "1.000001"}
	want.Position.Log, want.Position.Ledger, want.Position.Rollup = seq, seq, seq
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}

	err := s.jobs.Add(rollup.Job{Name: "sweep", Schedule: "@hourly", Run: func(context.Context) (string, error) { return "swept <3>", nil }})
	if err != nil {
		t.Fatal(err)
	}
	type list struct{ Jobs []jobView }
	before := into[list](t, s.get(s.platform, "/v1/jobs")).Jobs
	if len(before) != 2 || before[0].Name != rollup.JobName || before[0].Position != seq || before[1].LastRun != nil || before[1].Outcome != "" {
		t.Errorf("jobs: %+v", before)
	}
	if err := s.jobs.Trigger(t.Context(), "sweep"); err != nil {
		t.Fatal(err)
	}
	a := s.get(s.platform, "/v1/jobs")
	after := into[list](t, a).Jobs[1]
	if after.Name != "sweep" || after.Schedule != "@hourly" || after.Outcome != rollup.OutcomeOK || after.LastRun == nil || !strings.Contains(a.body, "swept <3>") {
		t.Errorf("jobs: %s", a.body)
	}

	a = s.ask(s.platform, "POST", "/v1/verify", "")
	if a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" || strings.Contains(a.body, `\u003`) {
		t.Fatalf("verify: %d %v %s", a.status, a.header, a.body)
	}
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	for i, text := range lines {
		var line checkLine
		if err := json.Unmarshal([]byte(text), &line); err != nil || !line.OK || line.Skipped != "" {
			t.Errorf("line %d: %s, %v", i, text, err)
		}
		if last := i == len(lines)-1; last != (line.Check == "") || last && line.Checks != len(lines)-1 {
			t.Errorf("line %d of %d: %s", i, len(lines), text)
		}
	}
	if len(lines) < 4 {
		t.Errorf("%d lines: %s", len(lines), a.body)
	}
	for _, path := range []string{"GET /v1/summary", "GET /v1/jobs", "POST /v1/verify"} {
		method, path, _ := strings.Cut(path, " ")
		wantProblem(t, s.ask(s.acme.key, method, path, ""), 403, "platform_only", "")
	}
}

// A finding is told with its place and its side.
func TestLineOfACheck(t *testing.T) {
	c := rollup.Check{Name: "ledger = raw", Differences: 2, Notes: []string{"a note"},
		Numbers: []rollup.Number{{Name: "events", Value: "7"}, {Name: "rows", Value: "6"}},
		Findings: []rollup.Finding{
			{From: 3, To: 5, Tenant: "ten_a", Detail: "1 row is missing", Side: "raw"},
			{Window: "2026-02", Tenant: "ten_a", Detail: "cost differs"},
		}}
	want := checkLine{Check: "ledger = raw", Detail: "events 7, rows 6, a note", Findings: []string{
		"log 3 to 5, tenant ten_a: 1 row is missing (short: raw)", "window 2026-02, tenant ten_a: cost differs"}}
	if diff := cmp.Diff(want, lineOf(&c)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// While the warehouse is away questions are answered 503 and events are taken in.
func TestWithoutTheWarehouse(t *testing.T) {
	s := newStack(t)
	s.down.Store(true)
	for _, path := range []string{"/v1/usage", "/v1/usage/series", "/v1/events", "/v1/conflicts", "/v1/quarantine", "/v1/entitlements"} {
		a := s.get(s.acme.key, path)
		wantProblem(t, a, 503, httpapi.CodeUnavailable, "")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	for _, row := range [][2]string{{"GET", "/v1/summary"}, {"GET", "/v1/jobs"}, {"POST", "/v1/verify"}} {
		wantProblem(t, s.ask(s.platform, row[0], row[1], ""), 503, httpapi.CodeUnavailable, "")
	}
	s.send(s.acme.key, call("e", s.now, `"model":"alpha"`))
	if a := s.get(s.acme.key, "/v1/prices"); a.status != 200 {
		t.Errorf("prices need the log alone: %d %s", a.status, a.body)
	}
}

// A wrong parameter is named, with what would be right.
func TestBadParameters(t *testing.T) {
	s := newStack(t)
	for _, row := range [][2]string{
		{"/v1/usage?month=2026-13", "/month"}, {"/v1/usage?month=now", "/month"},
		{"/v1/usage?day=2026-02-30", "/day"}, {"/v1/usage?day=2026-02-01&month=2026-02", "/day"},
		{"/v1/usage?by=color", "/by"}, {"/v1/usage?by=model,model", "/by"}, {"/v1/usage?by=model,%20agent", "/by"},
		{"/v1/usage?fresh=maybe", "/fresh"},
		{"/v1/usage/series?grain=month", "/grain"}, {"/v1/usage/series?month=x", "/month"},
		{"/v1/events?limit=0", "/limit"}, {"/v1/events?limit=1001", "/limit"}, {"/v1/events?limit=x", "/limit"},
		{"/v1/events?limit=-1", "/limit"}, {"/v1/events?cursor=x", "/cursor"},
		{"/v1/events?after=", "/after"}, {"/v1/events?after=7", "/after"}, {"/v1/events?after=1-2-3", "/after"},
		{"/v1/events?after=%201-2", "/after"}, {"/v1/events?after=1-70000", "/after"},
		{"/v1/events?after=0-0&wait=10", "/wait"}, {"/v1/events?after=0-0&wait=-1s", "/wait"}, {"/v1/events?after=0-0&limit=x", "/limit"},
		{"/v1/conflicts?limit=1e3", "/limit"}, {"/v1/conflicts?cursor=x", "/cursor"},
		{"/v1/quarantine?state=gone", "/state"}, {"/v1/quarantine?limit=0", "/limit"},
		{"/v1/prices?at=yesterday", "/at"},
	} {
		wantProblem(t, s.get(s.acme.key, row[0]), 422, "invalid", row[1])
	}
	for _, row := range [][2]string{
		{"/v1/prices/import", "/format"}, {"/v1/prices/import?format=xml", "/format"},
		{"/v1/prices/import?format=panda&from=soon", "/from"}, {"/v1/prices/import?format=panda&dry_run=please", "/dry_run"},
		{"/v1/prices/import?format=panda&all=y", "/all"},
	} {
		wantProblem(t, s.ask(s.platform, "POST", row[0], `{"rows":[]}`), 422, "invalid", row[1])
	}
}

package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Got is what panda counted, as its API says.
type Got struct {
	// Usage is by tenant, in the order of Tenants.
	Usage [tenantCount]Usage
	// Models and Agents are the first tenant's rows, the most expensive first.
	Models, Agents []Share
	// Status is each tenant's, such as "active".
	Status  [tenantCount]string
	Summary Summary
}

// Summary is what the writer counted over all tenants.
type Summary struct {
	Accepted    int64         `json:"accepted"`
	Duplicates  int64         `json:"duplicates"`
	Conflicts   int64         `json:"conflicts"`
	Quarantined int64         `json:"quarantined"`
	Unpriced    int64         `json:"unpriced"`
	Calls       int64         `json:"calls"`
	TokensTotal int64         `json:"tokens_total"`
	Cost        schemas.Money `json:"cost"`
}

// settleFor bounds how long Settle waits: the windows of a month of four tenants
// take seconds, and a machine that needs longer should not keep a demo from its
// end.
const settleFor = 2 * time.Minute

// Settle waits until the windows of the rollup are computed from everything that
// was counted, so that a check of them leaves none out. It reports whether they
// were in time.
func Settle(ctx context.Context, api *API) (bool, error) {
	deadline := time.Now().Add(settleFor)
	for {
		var s struct {
			Position struct {
				Ledger uint64 `json:"ledger"`
				Rollup uint64 `json:"rollup"`
			} `json:"position"`
		}
		if err := api.call(ctx, http.MethodGet, "/v1/summary?fresh=1", nil, nil, &s); err != nil {
			return false, fmt.Errorf("read positions: %w", err)
		}
		if s.Position.Rollup >= s.Position.Ledger {
			return true, nil
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := pause(ctx, settleTry, 0); err != nil {
			return false, err
		}
	}
}

// settleTry makes Settle ask five times a second.
const settleTry = 2

// usageRow is a row of GET /v1/usage, or its total.
type usageRow struct {
	Model      string           `json:"model"`
	Agent      string           `json:"agent"`
	Department string           `json:"department"`
	Calls      int64            `json:"calls"`
	Errors     int64            `json:"errors"`
	Unpriced   int64            `json:"unpriced"`
	LatencyMS  int64            `json:"latency_ms"`
	Tokens     map[string]int64 `json:"tokens"`
	Cost       schemas.Money    `json:"cost"`
}

func (r *usageRow) line() (Line, error) {
	l := Line{Calls: r.Calls, Errors: r.Errors, Unpriced: r.Unpriced, LatencyMS: r.LatencyMS, Cost: r.Cost.Big()}
	for name, n := range r.Tokens {
		bucket, ok := schemas.ParseBucket(name)
		if !ok {
			return l, fmt.Errorf("%q is no token bucket", name)
		}
		l.Tokens[bucket] = n
	}
	return l, nil
}

type usageAnswer struct {
	Rows  []usageRow `json:"rows"`
	Total usageRow   `json:"total"`
}

// Collect reads the month of every tenant. It waits until everything that was
// acknowledged before is counted.
func Collect(ctx context.Context, api *API, month schemas.Window) (Got, error) {
	var got Got
	for i, t := range Tenants() {
		if err := got.tenant(ctx, api, i, t.Slug, month); err != nil {
			return got, fmt.Errorf("read usage of %s: %w", t.Name, err)
		}
		var state struct {
			Status string `json:"status"`
		}
		if err := api.call(ctx, http.MethodGet, "/v1/tenants/"+t.Slug, nil, nil, &state); err != nil {
			return got, fmt.Errorf("read tenant %s: %w", t.Name, err)
		}
		got.Status[i] = state.Status
	}
	if err := api.call(ctx, http.MethodGet, "/v1/summary", nil, nil, &got.Summary); err != nil {
		return got, fmt.Errorf("read summary: %w", err)
	}
	return got, nil
}

func (g *Got) tenant(ctx context.Context, api *API, i int, slug string, month schemas.Window) error {
	u := Usage{}
	for _, by := range []struct {
		name  string
		lines *map[string]Line
		of    func(*usageRow) string
	}{
		{"model", &u.ByModel, func(r *usageRow) string { return r.Model }},
		{"agent", &u.ByAgent, func(r *usageRow) string { return r.Agent }},
		{"department", &u.ByDepartment, func(r *usageRow) string { return r.Department }},
	} {
		var answer usageAnswer
		query := url.Values{"tenant": {slug}, "month": {month.String()}, "by": {by.name}, "fresh": {"1"}}
		err := api.call(ctx, http.MethodGet, "/v1/usage", query, nil, &answer)
		if err != nil {
			return err
		}
		if u.Total, err = answer.Total.line(); err != nil {
			return err
		}
		*by.lines = make(map[string]Line, len(answer.Rows))
		for j := range answer.Rows {
			row := &answer.Rows[j]
			if (*by.lines)[by.of(row)], err = row.line(); err != nil {
				return err
			}
		}
		if i == 0 {
			g.keepRows(by.name, &answer)
		}
	}
	g.Usage[i] = u
	return nil
}

// keepRows keeps what the screen shows.
func (g *Got) keepRows(by string, answer *usageAnswer) {
	for _, r := range answer.Rows {
		switch by {
		case "model":
			g.Models = append(g.Models, Share{Name: displayName(r.Model), Cost: r.Cost, Unpriced: r.Unpriced})
		case "agent":
			g.Agents = append(g.Agents, Share{Name: r.Agent, Cost: r.Cost, Unpriced: r.Unpriced})
		}
	}
}

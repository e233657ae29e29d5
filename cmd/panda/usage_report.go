package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// usageReport is the answer of GET /v1/usage.
type usageReport struct {
	Tenant struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
		Name string `json:"name"`
	} `json:"tenant"`
	Month  string       `json:"month"`
	Day    string       `json:"day"`
	By     []string     `json:"by"`
	Source string       `json:"source"`
	AsOf   asOf         `json:"as_of"`
	Rows   []usageRow   `json:"rows"`
	Total  usageNumbers `json:"total"`
}

// asOf says how much a report has counted.
type asOf struct {
	Seq           int64     `json:"seq"`
	Time          time.Time `json:"time"`
	PriceRevision int64     `json:"price_revision"`
}

// usageNumbers are the numbers of a row and of the total.
type usageNumbers struct {
	Calls       int64            `json:"calls"`
	Errors      int64            `json:"errors"`
	Unpriced    int64            `json:"unpriced"`
	LatencyMS   int64            `json:"latency_ms"`
	Tokens      map[string]int64 `json:"tokens"`
	InputTotal  int64            `json:"input_tokens_total"`
	OutputTotal int64            `json:"output_tokens_total"`
	TokensTotal int64            `json:"tokens_total"`
	Cost        schemas.Money    `json:"cost"`
}

// costUnknown reports that no call of the row has a price.
func (n *usageNumbers) costUnknown() bool {
	return n.Unpriced > 0 && n.Unpriced >= n.Calls && n.Cost.IsZero()
}

// usageRow is a row of a report. Which dimensions it has, the report says.
type usageRow struct {
	usageNumbers
	Provider   string `json:"provider"`
	Model      string `json:"model"`
	Department string `json:"department"`
	CostCenter string `json:"cost_center"`
	Agent      string `json:"agent"`
}

func (r *usageRow) dimension(i int, by []string) string {
	switch by[i] {
	case "provider":
		return r.Provider
	case "model":
		return r.Model
	case "department":
		return r.Department
	case "cost_center":
		return r.CostCenter
	case "agent":
		return r.Agent
	}
	return ""
}

// names are the row's values of the dimensions; what an event did not say is
// shown as a dash.
func (r *usageRow) names(by []string) []string {
	names := make([]string, len(by), len(by)+7)
	for i := range by {
		if names[i] = r.dimension(i, by); names[i] == "" {
			names[i] = "-"
		}
	}
	return names
}

// window is the month or day of the report, as it was asked for.
func (r *usageReport) window() string {
	if r.Day != "" {
		return r.Day
	}
	return r.Month
}

func (r *usageReport) tenantName() string {
	if r.Tenant.Name != "" {
		return r.Tenant.Name
	}
	return r.Tenant.Slug
}

// usage asks for a report that counts everything acknowledged before.
func (c *apiClient) usage(ctx context.Context, f usageFlags) (usageReport, []byte, error) {
	report, body, err := call[usageReport](ctx, c, get("/v1/usage", params("tenant", f.tenant, "month", f.month,
		"day", f.day, "by", strings.Join(f.by, ","), "fresh", "1")))
	if len(report.By) == 0 {
		report.By = f.by
	}
	if report.Day == "" {
		report.Day = f.day
	}
	return report, body, err
}

// budget returns the tenant's budget for the month, or nil: there is none, the
// report is of a day, or the key may not see the tenant's settings. It is an
// extra line on a screen, so its failure is not one of the command.
func (c *apiClient) budget(ctx context.Context, r usageReport) *schemas.Money {
	if r.Day != "" || r.Tenant.ID == "" {
		return nil
	}
	t, _, err := call[tenantView](ctx, c, request{method: http.MethodGet, path: "/v1/tenants/" + r.Tenant.ID})
	if err != nil {
		return nil
	}
	return t.MonthlyBudget
}

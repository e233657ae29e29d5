package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

type tenantRef struct {
	ID   string `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

func refOf(t *tenancy.Tenant) tenantRef { return tenantRef{t.ID, t.Slug, t.Name} }

// numbers are sums of usage. Buckets are apart in tokens; the totals beside them
// are what people call input and output.
type numbers struct {
	Calls        int64            `json:"calls"`
	Errors       int64            `json:"errors"`
	Unpriced     int64            `json:"unpriced"`
	LatencyMS    int64            `json:"latency_ms"`
	Tokens       map[string]int64 `json:"tokens"`
	InputTokens  int64            `json:"input_tokens_total"`
	OutputTokens int64            `json:"output_tokens_total"`
	TokensTotal  int64            `json:"tokens_total"`
	Cost         schemas.Money    `json:"cost"`
}

func numbersOf(t *aggregate.Totals) numbers {
	n := numbers{
		Calls: t.Calls, Errors: t.Errors, Unpriced: t.Unpriced, LatencyMS: t.LatencyMS,
		Tokens:      make(map[string]int64, schemas.BucketCount),
		InputTokens: t.Tokens.InputTotal(), OutputTokens: t.Tokens.OutputTotal(), TokensTotal: t.Tokens.Total(),
		Cost: t.Cost,
	}
	for b := range schemas.BucketCount {
		n.Tokens[schemas.Bucket(b).String()] = t.Tokens[b]
	}
	return n
}

// names are the dimensions of a row; those that were not asked for are absent.
type names struct {
	Provider   *string `json:"provider,omitempty"`
	Model      *string `json:"model,omitempty"`
	Department *string `json:"department,omitempty"`
	CostCenter *string `json:"cost_center,omitempty"`
	Agent      *string `json:"agent,omitempty"`
}

func namesOf(by []schemas.Dimension, values []string) (n names) {
	for i, d := range by {
		switch d {
		case schemas.ByProvider:
			n.Provider = &values[i]
		case schemas.ByModel:
			n.Model = &values[i]
		case schemas.ByDepartment:
			n.Department = &values[i]
		case schemas.ByCostCenter:
			n.CostCenter = &values[i]
		case schemas.ByAgent:
			n.Agent = &values[i]
		}
	}
	return n
}

type usageRow struct {
	names
	numbers
}

type position struct {
	Seq           uint64    `json:"seq"`
	Time          time.Time `json:"time"`
	PriceRevision uint32    `json:"price_revision,omitempty"`
}

type usageAnswer struct {
	Tenant tenantRef           `json:"tenant"`
	Month  string              `json:"month,omitempty"`
	Day    string              `json:"day,omitempty"`
	By     []schemas.Dimension `json:"by"`
	Source aggregate.Source    `json:"source"`
	AsOf   position            `json:"as_of"`
	Rows   []usageRow          `json:"rows"`
	Total  numbers             `json:"total"`
}

// windowOf reads the window of a request: a month, a day, or the current month.
func (a *API) windowOf(r *http.Request) (schemas.Window, error) {
	q := r.URL.Query()
	day, month := q.Get("day"), q.Get("month")
	switch {
	case day != "" && month != "":
		return schemas.Window{}, schemas.Invalid("/day", schemas.CodeNotAllowed, "ask for a day or for a month, not for both")
	case day != "":
		at, err := dayQuery(r, "day", time.Time{})
		return schemas.WindowOf(schemas.GrainDay, at), err
	case month != "":
		return schemas.ParseMonth(month)
	}
	return schemas.WindowOf(schemas.GrainMonth, a.Now()), nil
}

func dimensionsOf(r *http.Request) ([]schemas.Dimension, error) {
	by := []schemas.Dimension{}
	for _, word := range strings.Split(r.URL.Query().Get("by"), ",") {
		if word == "" {
			continue
		}
		d, err := schemas.ParseDimension(word)
		if err != nil {
			return nil, err
		}
		by = append(by, d)
	}
	return by, nil
}

// usage is GET /v1/usage.
func (a *API) usage(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	window, err := a.windowOf(r)
	if err != nil {
		return err
	}
	by, err := dimensionsOf(r)
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	query := aggregate.Query{Tenant: tenant.ID, Window: window, By: by}
	fresh, err := boolQuery(r, "fresh")
	if err != nil {
		return err
	}
	if fresh {
		// Everything acknowledged before the question counts in the answer.
		if query.MinSeq, err = stages.of(tenant.ID).End(r.Context()); err != nil {
			return err
		}
	}
	result, err := stages.of(query.Tenant).Reader.Usage(r.Context(), query)
	if err != nil {
		return err
	}
	answer := usageAnswer{
		Tenant: refOf(&tenant), By: by, Source: result.Source,
		AsOf:  position{Seq: result.AsOf.Seq, Time: result.AsOf.Time},
		Rows:  make([]usageRow, len(result.Groups)),
		Total: numbersOf(&result.Total),
	}
	if window.Grain == schemas.GrainMonth {
		answer.Month = window.String()
	} else {
		answer.Day = window.String()
	}
	if book, err := a.Prices.Current(r.Context()); err == nil {
		answer.AsOf.PriceRevision = book.Number()
	}
	for i := range result.Groups {
		g := &result.Groups[i]
		answer.Rows[i] = usageRow{namesOf(by, g.Names), numbersOf(&g.Totals)}
	}
	return writeJSON(w, answer)
}

type seriesRow struct {
	Window      string        `json:"window"`
	Calls       int64         `json:"calls"`
	TokensTotal int64         `json:"tokens_total"`
	Cost        schemas.Money `json:"cost"`
}

// series is GET /v1/usage/series.
func (a *API) series(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	month, err := a.windowOf(r)
	if err != nil {
		return err
	}
	grain := schemas.Grain(r.URL.Query().Get("grain"))
	switch grain {
	case "":
		grain = schemas.GrainDay
	case schemas.GrainDay, schemas.GrainHour:
	default:
		return schemas.Invalid("/grain", schemas.CodeUnknown, "%q is not a grain of a series; use day or hour", grain)
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	points, asOf, err := stages.of(tenant.ID).Reader.Series(r.Context(), tenant.ID, month, grain)
	if err != nil {
		return err
	}
	rows := make([]seriesRow, len(points))
	for i, p := range points {
		rows[i] = seriesRow{schemas.Window{Grain: grain, Start: p.Start}.String(), p.Calls, p.Tokens, p.Cost}
	}
	return writeJSON(w, struct {
		Tenant tenantRef   `json:"tenant"`
		AsOf   position    `json:"as_of"`
		Rows   []seriesRow `json:"rows"`
	}{refOf(&tenant), position{Seq: asOf.Seq, Time: asOf.Time}, rows})
}

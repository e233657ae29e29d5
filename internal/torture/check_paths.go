package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// A cell is what usage is summed by.
type cell struct{ month, model, department string }

// An oracle adds up the events that count, from what was sent.
type oracle struct {
	cells  map[cell]*Sum
	months map[string]*Sum
}

func newOracle() *oracle { return &oracle{map[cell]*Sum{}, map[string]*Sum{}} }

func (o *oracle) add(e *Event) {
	into(o.cells, cell{e.Month(), e.Model, e.Department}).Add(e.Adds)
	into(o.months, e.Month()).Add(e.Adds)
}

func into[K comparable](m map[K]*Sum, k K) *Sum {
	if m[k] == nil {
		m[k] = &Sum{}
	}
	return m[k]
}

// compare holds sums against the oracle's; what is absent is nothing.
func compare[K comparable](v *Verdict, what string, want, got map[K]*Sum) {
	for k := range got {
		into(want, k)
	}
	for k, sum := range want {
		v.Checks++
		if diff := sum.Diff(into(got, k)); diff != "" {
			v.wrong("%s, %v: %s", what, k, diff)
		}
	}
}

// paths asks for a tenant's usage in every way there is.
func (c *checker) paths(ctx context.Context, t *Tenant, o *oracle) error {
	live := map[string]bool{}
	cells, totals := map[cell]*Sum{}, map[string]*Sum{}
	for month := range o.months {
		source, err := c.usage(ctx, t, month, cells, totals)
		if err != nil {
			return err
		}
		live[source] = true
	}
	compare(c.verdict, "GET /v1/usage by model and department for "+t.Slug, o.cells, cells)
	compare(c.verdict, "GET /v1/usage for "+t.Slug, o.months, totals)
	for _, grain := range []string{"hour", "day", "month"} {
		windows := map[cell]*Sum{}
		if err := c.windows(ctx, t, grain, windows); err != nil {
			return err
		}
		compare(c.verdict, "windows by "+grain+" of "+t.Slug, o.cells, windows)
	}
	for source := range live {
		c.verdict.Paths = append(c.verdict.Paths, source)
	}
	return nil
}

// usage asks with the tenant's own key, for the total and for the parts.
func (c *checker) usage(ctx context.Context, t *Tenant, month string, cells map[cell]*Sum, totals map[string]*Sum) (source string, err error) {
	for _, by := range []string{"", "&by=model,department"} {
		text, err := c.panda.API(t.Key).text(ctx, http.MethodGet, "/v1/usage?fresh=1&month="+month+by, nil)
		if err != nil {
			return "", err
		}
		c.foreign(t, "GET /v1/usage", text)
		var answer usageAnswer
		if err := json.Unmarshal(text, &answer); err != nil {
			return "", fmt.Errorf("read usage: %w", err)
		}
		source = answer.Source
		total, err := answer.Total.sum()
		if err != nil {
			return "", err
		}
		if by == "" {
			totals[month] = total
			continue
		}
		if diff := into(totals, month).Diff(total); diff != "" {
			c.verdict.wrong("GET /v1/usage for %s, %s: with a breakdown the total is another: %s", t.Slug, month, diff)
		}
		for i := range answer.Rows {
			row := &answer.Rows[i]
			sum, err := row.sum()
			if err != nil {
				return "", err
			}
			into(cells, cell{month, row.Model, row.Department}).Plus(sum)
		}
	}
	return source, nil
}

// windows reads the stored windows of a grain from the table.
func (c *checker) windows(ctx context.Context, t *Tenant, grain string, cells map[cell]*Sum) error {
	return c.panda.SQL(ctx, "SELECT formatDateTime(window, '%Y-%m') AS month, b.model AS model, b.department AS department, "+
		"toString(sum(b.calls)) AS calls, toString(sum(b.cost)) AS cost, ["+bucketColumns("toString(sum(b.%s))")+"] AS tokens "+
		"FROM "+c.at+".rollup FINAL ARRAY JOIN by AS b WHERE tenant = '"+t.ID+"' AND grain = '"+grain+"' GROUP BY month, model, department",
		func(line []byte) error {
			var row struct {
				Month string
				storedRow
			}
			if err := json.Unmarshal(line, &row); err != nil {
				return err
			}
			sum := into(cells, cell{row.Month, row.Model, row.Department})
			for i, text := range append([]string{row.Calls}, row.Tokens...) {
				if _, good := sum.fields[i].SetString(text, 10); !good {
					return fmt.Errorf("%q is not a whole number", text)
				}
			}
			return picoOf(&sum.fields[sumFields-1], row.Cost)
		})
}

// foreign looks for words of other tenants in an answer.
func (c *checker) foreign(t *Tenant, what string, text []byte) {
	c.verdict.Checks++
	for _, other := range c.tenants {
		if other != t && (bytes.Contains(text, []byte(other.Secret)) || bytes.Contains(text, []byte(other.ID))) {
			c.verdict.wrong("%s for %s holds words of %s: %.300s", what, t.Slug, other.Slug, text)
		}
	}
}

// proofs lets the server prove that log, ledger, rows and windows agree, and looks
// at what lists say.
func (c *checker) proofs(ctx context.Context) error {
	for _, t := range c.tenants {
		for _, path := range []string{"/v1/events?limit=200", "/v1/conflicts?limit=200", "/v1/quarantine?limit=200", "/v1/usage/series", "/v1/entitlements"} {
			text, err := c.panda.API(t.Key).text(ctx, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			c.foreign(t, "GET "+path, text)
		}
	}
	text, err := c.panda.API("").textWithin(ctx, http.MethodPost, "/v1/verify", verifyMax)
	if err != nil {
		return err
	}
	c.verified(text)
	var jobs struct {
		Jobs []struct{ Name, Outcome, Detail string }
	}
	if err := c.panda.API("").Ask(ctx, http.MethodGet, "/v1/jobs", nil, &jobs); err != nil {
		return err
	}
	for _, j := range jobs.Jobs {
		// A job that a fault cut off has failed and says so; one that found something
		// names what is broken.
		if strings.Contains(j.Detail, "is broken") {
			c.verdict.wrong("job %s: %s", j.Name, j.Detail)
		}
	}
	return nil
}

// verified reads the answer of a verify.
func (c *checker) verified(text []byte) {
	c.verdict.Checks++
	checks := 0
	for line := range bytes.Lines(text) {
		var proof struct {
			OK      bool
			Skipped string
		}
		if err := json.Unmarshal(line, &proof); err != nil {
			c.verdict.wrong("verify: %s: %s", err, line)
			return
		}
		if checks++; !proof.OK || proof.Skipped != "" {
			c.verdict.wrong("verify: %s", strings.TrimSpace(string(line)))
		}
	}
	if checks < 2 {
		c.verdict.wrong("verify proved nothing: %s", text)
	}
}

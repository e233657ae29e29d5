package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
)

// auditedQuery is a statement, how it keeps to one tenant, and how often it ran.
type auditedQuery struct {
	Name    string            `json:"name"`
	Source  string            `json:"source"`
	Tables  []string          `json:"tables"`
	Verdict statement.Verdict `json:"verdict"`
	Filter  string            `json:"filter,omitempty"`
	// Reason is why it may read all tenants, by its own declaration.
	Reason   string   `json:"reason,omitempty"`
	Problems []string `json:"problems,omitempty"`
	Runs     uint64   `json:"runs"`
	Failed   uint64   `json:"failed"`
	// RunsOfAll are those that named no tenant.
	RunsOfAll uint64 `json:"runs_of_all_tenants"`
	SlowestUS int64  `json:"slowest_us"`
}

func auditedQueryOf(name, source string, an *statement.Analysis, t warehouse.Tally) auditedQuery {
	q := auditedQuery{Name: name, Source: source, Tables: an.Tables, Verdict: an.Verdict, Filter: an.Filter(), Reason: an.Reason,
		Runs: t.Runs, Failed: t.Failed, RunsOfAll: t.AllTenants, SlowestUS: t.Slowest.Microseconds()}
	if q.Tables == nil {
		q.Tables = []string{}
	}
	if an.Verdict == statement.Missing {
		q.Problems = an.Problems
	}
	return q
}

// auditQueries is GET /v1/audit/queries: every statement of this binary, and every
// other one that it ran, with what keeps it to one tenant.
func (a *API) auditQueries(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	onlyMissing, err := boolQuery(r, "missing_tenant_filter")
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	answer := struct {
		Since time.Time `json:"since"`
		// Statements are all that the binary has, Ran those of them that ran since, Runs
		// how often altogether. Missing counts what has neither filter nor reason.
		Statements int    `json:"statements"`
		Ran        int    `json:"ran"`
		Runs       uint64 `json:"runs"`
		Missing    int    `json:"missing"`
		// Unnamed are runs of statements that are in no file; those that read tenants'
		// tables are among the items.
		Unnamed             uint64         `json:"unnamed_runs"`
		TablesWithoutTenant []string       `json:"tables_without_tenant"`
		Items               []auditedQuery `json:"items"`
	}{Since: stages.Runs.Since().UTC(), Statements: len(stages.Statements.Statements),
		TablesWithoutTenant: stages.Statements.Tables.Without(), Items: []auditedQuery{}}
	add := func(q auditedQuery) {
		if q.Verdict == statement.Missing {
			answer.Missing++
		}
		if !onlyMissing || q.Verdict == statement.Missing {
			answer.Items = append(answer.Items, q)
		}
	}
	tallies := stages.Runs.Tallies()
	for i := range stages.Statements.Statements {
		s := &stages.Statements.Statements[i]
		t := tallies[s.Name]
		if answer.Runs += t.Runs; t.Runs > 0 {
			answer.Ran++
		}
		add(auditedQueryOf(s.Name, s.Source, &s.Analysis, t))
	}
	unnamed, runs := unnamedQueries(stages)
	answer.Unnamed = runs
	for _, q := range unnamed {
		add(q)
	}
	return writeJSON(w, answer)
}

// unnamedQueries are the statements that ran and are in no file, as far as they read
// what tenants have. Their texts are not shown: a name of a hash finds one in the
// source.
func unnamedQueries(stages *Stages) (found []auditedQuery, runs uint64) {
	texts, beyond := stages.Runs.Unnamed()
	for text, t := range texts {
		runs += t.Runs
		an := stages.Statements.Analyse(text)
		if an.Verdict == statement.NoTenantData {
			continue
		}
		hash := sha256.Sum256([]byte(text))
		found = append(found, auditedQueryOf("unnamed/"+hex.EncodeToString(hash[:4]), "", &an, t))
	}
	if runs += beyond.Runs; beyond.Runs > 0 {
		an := statement.Analysis{Verdict: statement.Missing,
			Problems: []string{fmt.Sprintf("%d runs of more different texts than are kept; what they read is not known", beyond.Runs)}}
		found = append(found, auditedQueryOf("unnamed/other", "", &an, beyond))
	}
	slices.SortFunc(found, func(a, b auditedQuery) int { return cmp.Compare(a.Name, b.Name) })
	return found, runs
}

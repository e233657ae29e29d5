package statement

import (
	"fmt"
	"slices"
	"strings"
)

// A Verdict says how a statement keeps to one tenant.
type Verdict string

// The verdicts.
const (
	// NoTenantData: it reads no table that names a tenant.
	NoTenantData Verdict = "no_tenant_data"
	// Filtered: every read of such a table is of the tenant that was asked about.
	Filtered Verdict = "filtered"
	// Declared: it may read all tenants, and says why.
	Declared Verdict = "declared"
	// Missing: it may read all tenants, and nothing says that it should.
	Missing Verdict = "missing"
)

// Analysis is what a text says about itself.
type Analysis struct {
	Verdict Verdict
	// Tables are those with a tenant that it reads, sorted.
	Tables []string
	// Optional: there is a filter that an empty tenant turns off.
	Optional bool
	// Reason is what the comment "all tenants:" says, "" without one.
	Reason string
	// Problems are the reads that are not of one tenant, in words.
	Problems []string
}

// Filter is the condition that keeps the statement to a tenant, "" without one.
func (a *Analysis) Filter() string {
	switch {
	case len(a.Tables) == 0:
		return ""
	case a.Optional:
		return "{tenant:String} = '' OR tenant = {tenant:String}"
	case len(a.Problems) == 0:
		return "tenant = {tenant:String}"
	}
	return ""
}

// Analyse reads a statement.
func Analyse(sql string, tables Tables) Analysis {
	r := reading{tables: tables}
	tokens, err := lex(sql)
	var nodes []node
	if err == nil {
		nodes, err = nest(tokens)
	}
	if err != nil {
		r.problem("it cannot be read: %v", err)
	} else {
		r.statement(nodes)
	}
	slices.Sort(r.found)
	a := Analysis{Tables: slices.Compact(r.found), Optional: r.optional, Reason: reasonOf(sql), Problems: r.problems}
	switch {
	case len(a.Problems) == 0 && len(a.Tables) == 0:
		a.Verdict = NoTenantData
	case len(a.Problems) == 0 && !a.Optional:
		a.Verdict = Filtered
	case a.Reason != "":
		a.Verdict = Declared
	default:
		a.Verdict = Missing
		if a.Optional {
			a.Problems = append(a.Problems, "an empty tenant reads all tenants")
		}
	}
	return a
}

// declaration begins the comment that says why all tenants are read.
const declaration = "-- all tenants:"

// reasonOf returns the declaration: its line, and those below that are indented.
func reasonOf(sql string) string {
	var parts []string
	for line := range strings.Lines(sql) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, declaration):
			parts = []string{strings.TrimSpace(strings.TrimPrefix(line, declaration))}
		case len(parts) > 0 && strings.HasPrefix(line, "--  "):
			parts = append(parts, strings.TrimSpace(strings.TrimPrefix(line, "--")))
		case len(parts) > 0:
			return strings.Join(parts, " ")
		}
	}
	return strings.Join(parts, " ")
}

// reading is one pass over a statement.
type reading struct {
	tables   Tables
	named    []string // by WITH
	found    []string
	optional bool
	problems []string
}

func (r *reading) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// statement reads a whole statement of any kind.
func (r *reading) statement(nodes []node) {
	if len(nodes) == 0 {
		return
	}
	first := nodes[0]
	if first.is("DELETE") || first.is("UPDATE") || first.is("ALTER") && slices.ContainsFunc(nodes, func(n node) bool { return n.is("DELETE") || n.is("UPDATE") }) {
		r.mutation(nodes)
		return
	}
	if at := slices.IndexFunc(nodes, isQueryStart); at >= 0 {
		r.query(nodes[at:])
		return
	}
	r.expression(nodes)
}

func isQueryStart(n node) bool { return n.is("SELECT") || n.is("WITH") }

// isQuery reports whether what is between brackets is a query.
func isQuery(nodes []node) bool {
	return len(nodes) > 0 && (isQueryStart(nodes[0]) || nodes[0].is("FROM") || nodes[0].isGroup() && isQuery(nodes[0].group))
}

// mutation reads DELETE FROM t WHERE, ALTER TABLE t DELETE WHERE and the like.
func (r *reading) mutation(nodes []node) {
	at := slices.IndexFunc(nodes, func(n node) bool { return n.is("TABLE") || n.is("FROM") || nodes[0].is("UPDATE") })
	if at < 0 {
		r.problem("a mutation of no table")
		return
	}
	target := nodes[at+1:]
	for len(target) > 0 && (target[0].is("IF") || target[0].is("EXISTS")) {
		target = target[1:]
	}
	refs, _ := r.tableRefs(target[:min(3, len(target))]) // database.table at most
	where := slices.IndexFunc(nodes, func(n node) bool { return n.is("WHERE") })
	var conditions [][]node
	if where >= 0 {
		conditions = conjuncts(nodes[where+1:])
	}
	r.judge(refs[:min(1, len(refs))], conditions, true, false)
	r.expression(nodes)
}

// query reads SELECTs that are joined by UNION and its like.
func (r *reading) query(nodes []node) {
	begin := 0
	for i, n := range nodes {
		if n.is("UNION") || n.is("INTERSECT") || n.is("EXCEPT") && i > 0 && !nodes[i-1].mark("*") {
			r.selection(nodes[begin:i])
			begin = i + 1
		}
	}
	r.selection(nodes[begin:])
}

// selection reads one SELECT.
func (r *reading) selection(nodes []node) {
	known := len(r.named)
	for i, n := range nodes {
		// WITH name AS (SELECT …)
		if n.is("AS") && i > 0 && i+1 < len(nodes) && nodes[i+1].isGroup() && isQuery(nodes[i+1].group) && nodes[i-1].kind == word {
			r.named = append(r.named, nodes[i-1].text)
		}
	}
	r.expression(nodes)
	var from []node
	var conditions [][]node
	for _, c := range clausesOf(nodes) {
		switch c.keyword {
		case "FROM":
			from = c.nodes
		case "WHERE", "PREWHERE":
			conditions = append(conditions, conjuncts(c.nodes)...)
		}
	}
	refs, joined := r.tableRefs(from)
	r.judge(refs, conditions, !joined, hidesTenant(nodes))
	r.named = r.named[:known]
}

// hidesTenant reports whether something else is called tenant in a SELECT: in
// ClickHouse an alias goes before a column.
func hidesTenant(nodes []node) bool {
	for i, n := range nodes {
		if n.is("AS") && i+1 < len(nodes) && nodes[i+1].kind == word && strings.EqualFold(nodes[i+1].text, tenant) {
			return true
		}
		if n.group != nil && !isQuery(n.group) && hidesTenant(n.group) {
			return true
		}
	}
	return false
}

// expression looks for queries, and for tables behind IN, in everything else.
func (r *reading) expression(nodes []node) {
	for i, n := range nodes {
		switch {
		case n.group != nil && n.isGroup() && isQuery(n.group):
			r.query(n.group)
		case n.group != nil:
			r.expression(n.group)
		case n.is("IN") && i+1 < len(nodes) && nodes[i+1].kind == word:
			name := nodes[i+1].text
			for at := i + 2; at+1 < len(nodes) && nodes[at].mark(".") && nodes[at+1].kind == word; at += 2 {
				name = nodes[at+1].text
			}
			if r.tables[name] != "" && !slices.Contains(r.named, name) {
				r.found = append(r.found, name)
				r.problem("%s is read whole behind IN", name)
			}
		}
	}
}

// clause is a part of a SELECT.
type clause struct {
	keyword string
	nodes   []node
}

// clausesOf splits a SELECT at the words that begin a clause.
func clausesOf(nodes []node) (clauses []clause) {
	for i := range nodes {
		if keyword := clauseAt(nodes, i); keyword != "" {
			clauses = append(clauses, clause{keyword: keyword})
		} else if len(clauses) > 0 {
			last := &clauses[len(clauses)-1]
			last.nodes = append(last.nodes, nodes[i])
		}
	}
	return clauses
}

func clauseAt(nodes []node, i int) string {
	n := nodes[i]
	follows := func(at int, keyword string) bool { return i+at < len(nodes) && i+at >= 0 && nodes[i+at].is(keyword) }
	switch {
	case n.kind != word || n.quoted:
		return ""
	case n.is("FROM") && follows(-1, "DISTINCT"): // IS NOT DISTINCT FROM
		return ""
	case (n.is("GROUP") || n.is("ORDER")) && !follows(1, "BY"):
		return ""
	case n.is("WINDOW") && !follows(2, "AS"): // window is a column here
		return ""
	}
	for _, keyword := range []string{"WITH", "SELECT", "FROM", "PREWHERE", "WHERE", "GROUP", "HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET", "SETTINGS", "FORMAT"} {
		if n.is(keyword) {
			return keyword
		}
	}
	return ""
}

// judge holds the tables of a SELECT against its conditions. alone: there is one
// source of columns. hidden: something else is called tenant.
func (r *reading) judge(refs []tableRef, conditions [][]node, alone, hidden bool) {
	for _, ref := range refs {
		column := r.tables[ref.name]
		if column == "" {
			continue
		}
		r.found = append(r.found, ref.name)
		best := none
		for _, c := range conditions {
			best = max(best, filterOf(c, ref, alone))
		}
		switch {
		case column != tenant:
			r.problem("%s names tenants in %s and has no row for one", ref.name, column)
		case best == none:
			r.problem("%s is read without a condition on tenant", ref.name)
		case hidden:
			r.problem("%s is filtered by something that is called tenant and hides the column", ref.name)
		case best == optional:
			r.optional = true
		}
	}
}

package statement

import "slices"

// tableRef is a table in FROM.
type tableRef struct{ name, alias string }

// tableRefs returns the tables of a FROM clause. joined reports whether there is more
// than one source, tables or not.
func (r *reading) tableRefs(from []node) (refs []tableRef, joined bool) {
	expected, array := true, false
	sources := 0
	for i := 0; i < len(from); i++ {
		n := from[i]
		switch {
		case n.is("JOIN"):
			array = i > 0 && from[i-1].is("ARRAY")
			expected = !array
			continue
		case n.mark(","):
			expected = !array
			continue
		case !expected:
			continue
		}
		expected = false
		sources++
		if n.isGroup() {
			if !isQuery(n.group) { // a join in brackets; queries are read where all are
				inner, _ := r.tableRefs(n.group)
				refs = append(refs, inner...)
			}
			continue
		}
		name, next := r.tableName(from, i)
		i = next - 1
		if next < len(from) && from[next].isGroup() {
			r.tableFunction(name, from[next].group)
			i = next
			continue
		}
		ref := tableRef{name: name}
		if !slices.Contains(r.named, name) || next > i+2 {
			ref.alias = aliasAt(from, next)
			refs = append(refs, ref)
		}
	}
	return refs, sources > 1
}

// tableName reads a name with its database, and returns what follows it.
func (r *reading) tableName(from []node, i int) (name string, next int) {
	for next = i; next < len(from); next += 2 {
		switch n := from[next]; n.kind {
		case word:
			name = n.text
		case param:
			name = ""
		default:
			return name, next
		}
		if next+1 >= len(from) || !from[next+1].mark(".") {
			next++
			break
		}
	}
	if name == "" {
		r.problem("a table is named by a parameter")
	}
	return name, next
}

// tableFunction accepts the functions that read no table.
func (r *reading) tableFunction(name string, _ []node) {
	switch name {
	case "numbers", "zeros", "generateSeries", "generate_series", "values", "view", "null":
	default:
		r.problem("it reads through the table function %s", name)
	}
}

// aliasAt returns the alias of a table, "" without one.
func aliasAt(from []node, i int) string {
	for ; i < len(from); i++ {
		n := from[i]
		switch {
		case n.is("FINAL"):
			continue
		case n.is("AS") && i+1 < len(from):
			return from[i+1].text
		case n.kind != word || joinWord(n):
			return ""
		}
		return n.text
	}
	return ""
}

func joinWord(n node) bool {
	return slices.ContainsFunc([]string{"SAMPLE", "ARRAY", "LEFT", "RIGHT", "INNER", "OUTER", "FULL", "CROSS", "GLOBAL", "ANY", "ALL",
		"ASOF", "SEMI", "ANTI", "PASTE", "LOCAL", "JOIN", "ON", "USING", "DELETE", "UPDATE", "WHERE"}, n.is)
}

// conjuncts splits a condition into parts that all hold for every row. A condition
// with OR, or one whose parts are not certain, is one part.
func conjuncts(nodes []node) (parts [][]node) {
	for _, n := range nodes {
		if n.is("OR") || n.is("XOR") || n.is("CASE") || n.mark("?") || n.mark("->") {
			return [][]node{nodes}
		}
	}
	begin, between := 0, false
	for i, n := range nodes {
		switch {
		case n.is("BETWEEN"):
			between = true
		case n.is("AND") && between: // of BETWEEN a AND b
			between = false
		case n.is("AND"):
			parts = append(parts, nodes[begin:i])
			begin = i + 1
		}
	}
	parts = append(parts, nodes[begin:])
	var flat [][]node
	for _, p := range parts {
		if len(p) == 1 && p[0].isGroup() && !isQuery(p[0].group) && !slices.ContainsFunc(p[0].group, func(n node) bool { return n.mark(",") }) {
			flat = append(flat, conjuncts(p[0].group)...)
			continue
		}
		flat = append(flat, p)
	}
	return flat
}

// strength says how far a condition keeps to the tenant.
type strength int

const (
	none strength = iota
	optional
	full
)

// filterOf says what a condition does for a table. alone: no other table could have
// the column.
func filterOf(c []node, ref tableRef, alone bool) strength {
	if isEquality(c, ref, alone) {
		return full
	}
	or := slices.IndexFunc(c, func(n node) bool { return n.is("OR") })
	if or < 0 {
		return none
	}
	left, right := c[:or], c[or+1:]
	if isAll(left) && isEquality(right, ref, alone) || isAll(right) && isEquality(left, ref, alone) {
		return optional
	}
	return none
}

// isAll is {tenant:String} = ”.
func isAll(c []node) bool {
	return len(c) == 3 && isTenantParam(c[0]) && (c[1].mark("=") || c[1].mark("==")) && c[2].kind == text && c[2].text == ""
}

// isEquality is tenant = {tenant:String}, with or without the table's name, in either
// order.
func isEquality(c []node, ref tableRef, alone bool) bool {
	if len(c) < 3 {
		return false
	}
	last := len(c) - 1
	switch {
	case isTenantParam(c[last]) && (c[last-1].mark("=") || c[last-1].mark("==")):
		return isColumn(c[:last-1], ref, alone)
	case isTenantParam(c[0]) && (c[1].mark("=") || c[1].mark("==")):
		return isColumn(c[2:], ref, alone)
	}
	return false
}

func isTenantParam(n node) bool { return n.kind == param && n.text == "{tenant:String}" }

func isColumn(c []node, ref tableRef, alone bool) bool {
	isTenant := func(n node) bool { return n.kind == word && n.text == tenant }
	switch len(c) {
	case 1:
		return alone && isTenant(c[0])
	case 3:
		return c[0].kind == word && c[1].mark(".") && isTenant(c[2]) && (c[0].text == ref.alias || ref.alias == "" && c[0].text == ref.name)
	}
	return false
}

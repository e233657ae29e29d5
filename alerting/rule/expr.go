package rule

import (
	"math/big"
	"slices"
	"strings"
)

// An Expr is a condition that was checked. It is never changed and safe for concurrent
// use.
type Expr struct {
	source  string
	root    *node
	metrics []Metric
}

// String is the condition as written.
func (e *Expr) String() string { return e.source }

// Canonical is the condition in one way of writing, the same for conditions that differ
// in blanks, aliases and units alone.
func (e *Expr) Canonical() string {
	var b strings.Builder
	e.root.canonical(&b)
	return b.String()
}

// Metrics are those it names, each once, in order of name.
func (e *Expr) Metrics() []Metric { return slices.Clone(e.metrics) }

// ParseExpr reads and checks a condition. The error is a Problems with the column of
// each, counted in bytes from 1, in line 1.
func ParseExpr(text string) (*Expr, error) {
	e, slips := parseExpr(text)
	if len(slips) == 0 {
		return e, nil
	}
	var problems Problems
	for _, s := range slips {
		problems = append(problems, Problem{Line: 1, Column: s.at + 1, What: s.what, Source: text})
	}
	return nil, problems
}

func parseExpr(text string) (*Expr, []*slip) {
	root, wrong := parse(text)
	if wrong != nil {
		return nil, []*slip{wrong}
	}
	c := &checker{}
	c.check(root)
	if root.kind != 0 && root.kind != Bool {
		c.add(root.at, "a condition is true or false; this is %s. Compare it, as in … > %s", root.kind, root.kind.example())
	}
	if len(c.slips) == 0 {
		c.contradictions(root)
	}
	e := &Expr{source: text, root: root}
	root.collect(&e.metrics)
	if len(e.metrics) == 0 && len(c.slips) == 0 {
		c.add(0, "this is the same whatever the values: no metric is in it")
	}
	if len(c.slips) > 0 {
		return nil, c.slips
	}
	return e, nil
}

func (n *node) collect(into *[]Metric) {
	if n == nil {
		return
	}
	if n.metric != nil {
		at, there := slices.BinarySearchFunc(*into, n.metric.Name, func(m Metric, name string) int { return strings.Compare(m.Name, name) })
		if !there {
			*into = slices.Insert(*into, at, *n.metric)
		}
	}
	n.left.collect(into)
	n.right.collect(into)
}

// Holds evaluates the condition over values by metric name. A metric that is missing or
// of another kind is absent. What is computed from an absent value, or divided by zero,
// is absent; a comparison with it holds neither as it stands nor with not before it, so
// nothing fires because something is not known. "or" holds if one side does.
func (e *Expr) Holds(values map[string]Value) bool { return e.root.truth(values) == yes }

// Shown are the values of its metrics for people, by name.
func (e *Expr) Shown(values map[string]Value) map[string]string {
	shown := make(map[string]string, len(e.metrics))
	for i := range e.metrics {
		shown[e.metrics[i].Name] = values[e.metrics[i].Name].Show(e.metrics[i].Unit)
	}
	return shown
}

// truth is yes, no, or not known (Kleene's logic).
type truth int8

const (
	no      truth = -1
	unknown truth = 0
	yes     truth = 1
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (n *node) truth(values map[string]Value) truth {
	switch {
	case n.metric != nil || n.op == "":
		v := n.eval(values)
		if v.kind != Bool {
			return unknown
		}
		return truthOf(v.truth)
	case n.op == "()":
		return n.right.truth(values)
	case n.op == "not":
		return -n.right.truth(values)
	case n.op == "and":
		return min(n.left.truth(values), n.right.truth(values))
	case n.op == "or":
		return max(n.left.truth(values), n.right.truth(values))
	}
	l, r := n.left.eval(values), n.right.eval(values)
	if l.rat == nil || r.rat == nil {
		return unknown
	}
	c := l.rat.Cmp(r.rat)
	switch n.op {
	case ">":
		return truthOf(c > 0)
	case ">=":
		return truthOf(c >= 0)
	case "<":
		return truthOf(c < 0)
	case "<=":
		return truthOf(c <= 0)
	case "==":
		return truthOf(c == 0)
	case "!=":
		return truthOf(c != 0)
	}
	panic("rule: a condition was not checked: " + n.op)
}

// eval computes a number.
func (n *node) eval(values map[string]Value) Value {
	switch {
	case n.metric != nil:
		if v := values[n.metric.Name]; v.kind == n.metric.Kind {
			return v
		}
		return Value{}
	case n.op == "":
		return n.value
	}
	r := n.right.eval(values)
	l := Value{rat: new(big.Rat)} // a sign is 0 - x
	if n.left != nil {
		l = n.left.eval(values)
	}
	if l.rat == nil || r.rat == nil {
		return Value{}
	}
	result := Value{kind: n.kind, rat: new(big.Rat)}
	switch n.op {
	case "+":
		result.rat.Add(l.rat, r.rat)
	case "-":
		result.rat.Sub(l.rat, r.rat)
	case "*":
		result.rat.Mul(l.rat, r.rat)
	case "/":
		if r.rat.Sign() == 0 {
			return Value{}
		}
		result.rat.Quo(l.rat, r.rat)
	default:
		panic("rule: a condition was not checked: " + n.op)
	}
	return result
}

package rule

import (
	"math/big"
	"strings"
)

// A checker finds what is wrong with a tree that can be read: kinds that do not fit, and
// parts that are the same whatever the values.
type checker struct{ slips []*slip }

func (c *checker) add(at int, format string, args ...any) {
	c.slips = append(c.slips, slipf(at, format, args...))
}

// check gives every node its kind and its span. A kind of 0 is a part that is wrong, and
// has been said.
func (c *checker) check(n *node) {
	switch {
	case n.metric != nil:
		n.kind = n.metric.Kind
		if n.kind != Bool {
			n.span = n.metric.span()
		}
	case n.op == "":
		n.kind, n.constant, n.span = n.value.kind, true, span{n.value.rat, n.value.rat}
	case n.op == "()":
		c.check(n.right)
		n.kind = n.right.kind
	case n.op == "not":
		c.check(n.right)
		c.wantBool(n.right, "not")
		n.kind = Bool
	case n.op == "-" && n.left == nil:
		c.check(n.right)
		if n.right.kind == Bool {
			c.add(n.at, "a minus before %s", Bool)
			return
		}
		n.kind, n.constant, n.untyped, n.span = n.right.kind, n.right.constant, n.right.untyped, n.right.span.negated()
	default:
		c.check(n.left)
		c.check(n.right)
		n.constant = n.left.constant && n.right.constant
		n.untyped = n.left.untyped && n.right.untyped
		switch {
		case n.op == "and", n.op == "or":
			c.wantBool(n.left, n.op)
			c.wantBool(n.right, n.op)
			n.kind = Bool
		case comparison(n.op):
			c.compared(n)
		case n.left.kind != 0 && n.right.kind != 0:
			c.arithmetic(n)
		}
	}
}

func (c *checker) wantBool(n *node, op string) {
	if n.kind != 0 && n.kind != Bool {
		c.add(n.at, "%s wants a condition on either side; this is %s. Compare it, as in … > %s", op, n.kind, n.kind.example())
	}
}

// adapt gives a literal without a unit the kind of the other side.
func (c *checker) adapt(n, other *node) {
	if !n.untyped || other.untyped {
		return
	}
	switch {
	case other.kind == Count:
		n.become(Count, big.NewRat(1, 1))
	case other.kind == Duration && bareOf(other) > 0:
		n.become(Duration, big.NewRat(bareOf(other), 1))
	}
}

// become changes the kind of a constant, and multiplies its literals.
func (n *node) become(kind Kind, by *big.Rat) {
	n.kind, n.untyped = kind, false
	n.span = n.span.scaled(by)
	switch {
	case n.op == "" && n.value.rat != nil:
		n.value = Value{kind: kind, rat: new(big.Rat).Mul(n.value.rat, by)}
	case n.left == nil:
		n.right.become(kind, by)
	case n.op == "+" || n.op == "-":
		n.left.become(kind, by)
		n.right.become(kind, by)
	default: // of a product or a quotient one side has the unit
		n.left.become(kind, by)
	}
}

// bareOf is what a number without a unit counts, next to a metric.
func bareOf(n *node) int64 {
	if n.metric != nil {
		return n.metric.Bare
	}
	return 0
}

// compared checks a comparison.
func (c *checker) compared(n *node) {
	n.kind = Bool
	if n.left.kind == 0 || n.right.kind == 0 {
		return
	}
	c.adapt(n.left, n.right)
	c.adapt(n.right, n.left)
	l, r := n.left, n.right
	switch {
	case l.kind != r.kind:
		c.add(n.at, "%s is compared with %s%s", l.kind, r.kind, hint(l, r))
		return
	case l.kind == Bool:
		c.add(n.at, "true and false are not compared; write the condition alone, or not before it")
		return
	case l.constant && r.constant:
		c.add(n.at, "this is the same whatever the values: no metric is in it")
		return
	}
	if c.share(l, r) || c.share(r, l) {
		return
	}
	yes, no := always(n.op, l.span, r.span)
	switch {
	case no:
		c.add(n.at, "this can never be true: %s", because(l, r))
	case yes:
		c.add(n.at, "this is always true: %s", because(l, r))
	}
}

// share finds a share of a limit that is over what anybody means.
func (c *checker) share(l, r *node) bool {
	if l.metric == nil || l.metric.Unit != UnitPercent || !r.constant || !r.span.point() {
		return false
	}
	if l.metric.Max == nil && r.span.low.Cmp(big.NewRat(percentMax/100, 1)) > 0 {
		c.add(r.at, "%s is over %d%%; a plain number is a factor, so write 95%% or 0.95", r.value.percent(), percentMax)
		return true
	}
	return false
}

func (v Value) percent() string { return v.Show(UnitPercent) }

// hint says how a literal is written that fits.
func hint(l, r *node) string {
	switch {
	case l.untyped:
		return "; a unit is missing, as in " + r.kind.example()
	case r.untyped:
		return "; a unit is missing, as in " + l.kind.example()
	}
	return ""
}

// because says which range makes a comparison pointless.
func because(sides ...*node) string {
	for i, n := range sides {
		if n.metric == nil {
			continue
		}
		if n.metric.Max != nil {
			text := n.metric.Name + " is from 0 to " + Value{kind: n.kind, rat: n.metric.Max}.Show(n.metric.Unit)
			if other := sides[1-i]; other.constant && n.metric.Unit == UnitPercent && other.span.low.Cmp(n.metric.Max) > 0 {
				text += "; for a percentage write %"
			}
			return text
		}
		return n.metric.Name + " is 0 or more"
	}
	return "see what its sides can be"
}

// arithmetic gives + - * / its kind.
func (c *checker) arithmetic(n *node) {
	l, r := n.left, n.right
	if l.kind == Bool || r.kind == Bool {
		c.add(n.at, "%s of a condition", n.op)
		return
	}
	switch n.op {
	case "+", "-":
		c.adapt(l, r)
		c.adapt(r, l)
		if l.kind != r.kind {
			c.add(n.at, "%s %s %s%s", l.kind, n.op, r.kind, hint(l, r))
			return
		}
		n.kind = l.kind
		if n.op == "+" {
			n.span = l.span.plus(r.span)
		} else {
			n.span = l.span.plus(r.span.negated())
		}
	case "*":
		n.span = l.span.times(r.span)
		switch {
		case r.kind == Number:
			n.kind = l.kind
		case l.kind == Number:
			n.kind = r.kind
		default:
			c.add(n.at, "%s times %s is nothing that can be measured", l.kind, r.kind)
		}
	case "/":
		n.span = l.span.over(r.span)
		switch {
		case r.constant && r.span.point() && r.span.low.Sign() == 0:
			c.add(r.at, "a division by zero")
		case r.kind == Number:
			n.kind = l.kind
		case l.kind == r.kind:
			n.kind = Number
		case r.kind == Count && (l.kind == Money || l.kind == Duration):
			n.kind = l.kind // cost of one call
		default:
			c.add(n.at, "%s divided by %s is nothing that can be measured", l.kind, r.kind)
		}
	}
}

// contradictions finds parts of one "and" that exclude each other, and of one "or" of
// which one is always true.
func (c *checker) contradictions(n *node) {
	switch {
	case n == nil || n.op == "":
		return
	case n.op == "and" || n.op == "or":
		parts := n.parts(n.op)
		left := map[string]*limits{}
		for _, part := range parts {
			m, op, at, ok := part.bound()
			if !ok {
				continue
			}
			if n.op == "or" {
				op = inverse(op)
			}
			name := m.Name
			if left[name] == nil {
				left[name] = limitsOf(m)
			}
			left[name].cut(op, at)
			if left[name].empty() {
				if n.op == "or" {
					c.add(part.at, "with what stands before it this is always true, whatever %s is", name)
				} else {
					c.add(part.at, "with what stands before it this can never be true: %s cannot be both", name)
				}
				left[name] = limitsOf(m)
			}
		}
		for _, part := range parts {
			c.contradictions(part)
		}
		return
	}
	c.contradictions(n.left)
	c.contradictions(n.right)
}

// parts are the sides of a chain of one operator.
func (n *node) parts(op string) []*node {
	if n.op != op {
		return []*node{n}
	}
	return append(n.left.parts(op), n.right.parts(op)...)
}

// bound returns a comparison of a metric with a constant as such.
func (n *node) bound() (m *Metric, op string, at *big.Rat, ok bool) {
	if n.op == "()" {
		return n.right.bound()
	}
	if !comparison(n.op) || n.op == "!=" {
		return nil, "", nil, false
	}
	if m := n.left.metric; m != nil && n.right.constant && n.right.span.point() {
		return m, n.op, n.right.span.low, true
	}
	if m := n.right.metric; m != nil && n.left.constant && n.left.span.point() {
		return m, mirrored(n.op), n.left.span.low, true
	}
	return nil, "", nil, false
}

// mirrored is the comparison with its sides exchanged.
func mirrored(op string) string { return strings.NewReplacer(">", "<", "<", ">").Replace(op) }

// inverse is the comparison that holds when this one does not; of == there is none that
// limits, and "" cuts nothing.
func inverse(op string) string {
	switch op {
	case ">":
		return "<="
	case ">=":
		return "<"
	case "<":
		return ">="
	case "<=":
		return ">"
	}
	return ""
}

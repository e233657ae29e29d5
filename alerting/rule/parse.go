package rule

import (
	"strings"
)

// depthMax bounds parentheses and signs inside each other, so that a condition cannot
// use up the stack.
const depthMax = 40

// A node is a part of a condition: a literal, a metric, or an operator over one or two
// parts.
type node struct {
	at          int
	op          string // "" for a leaf
	left, right *node  // left is nil for a sign or "not"
	value       Value  // of a literal
	metric      *Metric
	untyped     bool // a literal without a unit
	// What check finds:
	kind     Kind
	constant bool
	span     span
}

// binding is how strongly an operator holds its sides: a*b+c > d and e or f.
func binding(op string) int {
	switch op {
	case "or":
		return 1
	case "and":
		return 2
	case ">", ">=", "<", "<=", "==", "!=":
		return 4
	case "+", "-":
		return 5
	case "*", "/":
		return 6
	}
	return 0
}

const (
	bindingNot  = 3 // not a > b is not (a > b)
	bindingSign = 7
)

func comparison(op string) bool { return binding(op) == 4 }

// A parser makes a tree of words by how strongly operators bind (Pratt's method).
type parser struct {
	text   string
	tokens []token
	pos    int
	depth  int
}

// parse reads a condition. It stops at the first word that has no place.
func parse(text string) (*node, *slip) {
	tokens, wrong := lex(text)
	if wrong != nil {
		return nil, wrong
	}
	p := &parser{text: text, tokens: tokens}
	if p.peek().kind == endToken {
		return nil, slipf(0, "a condition is missing, such as error_rate > 5%%")
	}
	n, wrong := p.expression(0)
	if wrong != nil {
		return nil, wrong
	}
	if t := p.peek(); t.kind != endToken {
		return nil, slipf(t.at, "%q has no place here; an operator such as > or and is missing before it", p.shown(t))
	}
	return n, nil
}

func (p *parser) peek() *token { return &p.tokens[p.pos] }

func (p *parser) next() *token {
	t := &p.tokens[p.pos]
	if t.kind != endToken {
		p.pos++
	}
	return t
}

// shown is a word as it was written.
func (p *parser) shown(t *token) string {
	if t.kind == endToken {
		return "the end"
	}
	end := len(p.text)
	for i := range p.tokens {
		if p.tokens[i].at > t.at {
			end = p.tokens[i].at
			break
		}
	}
	return strings.TrimSpace(p.text[t.at:end])
}

// expression reads operators that bind more strongly than least.
func (p *parser) expression(least int) (*node, *slip) {
	if p.depth++; p.depth > depthMax {
		return nil, slipf(p.peek().at, "more than %d levels inside each other", depthMax)
	}
	defer func() { p.depth-- }()
	left, wrong := p.operand()
	for wrong == nil {
		t := p.peek()
		power := binding(t.text)
		if t.kind != operatorToken || power == 0 || power <= least {
			return left, nil
		}
		if comparison(t.text) && comparison(left.op) {
			return nil, slipf(t.at, "two comparisons in a row; write a < b and b < c")
		}
		p.next()
		var right *node
		if right, wrong = p.expression(power); wrong == nil {
			left = &node{at: t.at, op: t.text, left: left, right: right}
		}
	}
	return nil, wrong
}

// operand reads a literal, a metric, a sign or not with what it is of, or what stands in
// parentheses.
func (p *parser) operand() (*node, *slip) {
	t := p.next()
	switch {
	case t.kind == literalToken:
		return &node{at: t.at, value: t.value, untyped: t.untyped}, nil
	case t.kind == nameToken:
		if after := p.peek(); after.kind == operatorToken && after.text == "(" {
			return nil, slipf(after.at, "%s(…): there are no functions; the metrics are listed by panda alerts metrics", t.text)
		}
		m, ok := findMetric(t.text)
		if !ok {
			return nil, slipf(t.at, "there is no metric %s%s", t.text, didYouMean(t.text, metricNames()))
		}
		return &node{at: t.at, metric: &m}, nil
	case t.kind == operatorToken && t.text == "(":
		n, wrong := p.expression(0)
		if wrong != nil {
			return nil, wrong
		}
		if closing := p.next(); closing.kind != operatorToken || closing.text != ")" {
			return nil, slipf(closing.at, "%s where ) is missing", p.shown(closing))
		}
		if comparison(n.op) {
			n = &node{at: n.at, op: "()", right: n} // so that (a > b) > c is a matter of kinds
		}
		return n, nil
	case t.kind == operatorToken && (t.text == "not" || t.text == "-"):
		power := bindingNot
		if t.text == "-" {
			power = bindingSign
		}
		n, wrong := p.expression(power)
		if wrong != nil {
			return nil, wrong
		}
		return &node{at: t.at, op: t.text, right: n}, nil
	}
	return nil, slipf(t.at, "%s where a number or a metric is missing", p.shown(t))
}

// canonical writes a tree with all its parentheses, metrics by their first names and
// numbers as fractions: two conditions that mean the same but for blanks, aliases and
// units are written the same.
func (n *node) canonical(b *strings.Builder) {
	switch {
	case n.metric != nil:
		b.WriteString(n.metric.Name)
	case n.op == "" && n.value.rat != nil:
		b.WriteString(n.value.rat.RatString())
	case n.op == "":
		b.WriteString(n.value.Show(""))
	case n.op == "()":
		n.right.canonical(b)
	default:
		b.WriteString("(")
		if n.left != nil {
			n.left.canonical(b)
			b.WriteString(" ")
		}
		b.WriteString(n.op + " ")
		n.right.canonical(b)
		b.WriteString(")")
	}
}

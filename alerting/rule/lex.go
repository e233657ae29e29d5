package rule

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a condition may be at most: beyond, nobody can read it.
const (
	conditionBytesMax = 1000
	digitsMax         = 30
	// percentMax is ten times over: beyond, a percentage is a slip.
	percentMax = 1000
)

type tokenKind uint8

const (
	endToken tokenKind = iota
	literalToken
	nameToken
	operatorToken
)

// A token is a word of a condition.
type token struct {
	kind  tokenKind
	at    int    // offset in bytes
	text  string // a name, or an operator in its canonical form
	value Value  // of a literal
	// untyped: a literal without a unit, which counts what the other side counts.
	untyped bool
}

// A slip is what is wrong at a place of a condition.
type slip struct {
	at   int
	what string
}

func slipf(at int, format string, args ...any) *slip { return &slip{at, fmt.Sprintf(format, args...)} }

// unitWords are the units of literals: what one of it is, as a kind and a fraction.
func unitWords(word string) (Kind, *big.Rat, bool) {
	second := int64(1)
	switch word {
	case "ms", "millisecond", "milliseconds":
		return Duration, big.NewRat(1, 1000), true
	case "s", "sec", "second", "seconds":
		return Duration, big.NewRat(second, 1), true
	case "m", "min", "minute", "minutes":
		return Duration, big.NewRat(60*second, 1), true
	case "h", "hour", "hours":
		return Duration, big.NewRat(3600*second, 1), true
	case "d", "day", "days":
		return Duration, big.NewRat(86400*second, 1), true
	case "w", "week", "weeks":
		return Duration, big.NewRat(7*86400*second, 1), true
	case "x", "times":
		return Number, big.NewRat(1, 1), true
	case "percent":
		return Number, big.NewRat(1, 100), true
	case "USD", "usd", "dollars":
		return Money, big.NewRat(1, 1), true
	case "tokens", "calls", "errors", "agents", "sessions", "bytes":
		return Count, big.NewRat(1, 1), true
	}
	return 0, nil, false
}

// lex splits a condition into words. The last is an endToken.
func lex(text string) ([]token, *slip) {
	if len(text) > conditionBytesMax {
		return nil, slipf(0, "the condition has %d bytes; at most %d", len(text), conditionBytesMax)
	}
	var tokens []token
	for at := 0; ; {
		for at < len(text) && strings.IndexByte(" \t\r\n", text[at]) >= 0 {
			at++
		}
		if at == len(text) {
			return append(tokens, token{kind: endToken, at: at}), nil
		}
		var t token
		var wrong *slip
		c := text[at]
		switch {
		case isDigit(c), c == '$':
			t, at, wrong = lexLiteral(text, at)
		case isLetter(c):
			t, at = lexName(text, at)
		default:
			t, at, wrong = lexOperator(text, at)
		}
		if wrong != nil {
			return nil, wrong
		}
		tokens = append(tokens, t)
	}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// word returns the run of letters and digits at a place.
func word(text string, at int) string {
	end := at
	for end < len(text) && (isLetter(text[end]) || isDigit(text[end])) {
		end++
	}
	return text[at:end]
}

// lexName reads words with dots between. The words of logic are operators.
func lexName(text string, at int) (token, int) {
	end := at + len(word(text, at))
	for end+1 < len(text) && text[end] == '.' && isLetter(text[end+1]) {
		end += 1 + len(word(text, end+1))
	}
	name := text[at:end]
	switch lower := strings.ToLower(name); lower {
	case "and", "or", "not":
		return token{kind: operatorToken, at: at, text: lower}, end
	case "true", "false":
		return token{kind: literalToken, at: at, value: OfBool(lower == "true")}, end
	}
	return token{kind: nameToken, at: at, text: name}, end
}

func lexOperator(text string, at int) (token, int, *slip) {
	for _, op := range []string{">=", "<=", "==", "!=", "&&", "||", "=>", "=<", "<>"} {
		if !strings.HasPrefix(text[at:], op) {
			continue
		}
		canonical := op
		switch op {
		case "&&":
			canonical = "and"
		case "||":
			canonical = "or"
		case "=>", "=<", "<>":
			meant := map[string]string{"=>": ">=", "=<": "<=", "<>": "!="}[op]
			return token{}, at, slipf(at, "%s is no comparison, write %s", op, meant)
		}
		return token{kind: operatorToken, at: at, text: canonical}, at + len(op), nil
	}
	c := text[at]
	switch {
	case c == '!':
		return token{kind: operatorToken, at: at, text: "not"}, at + 1, nil
	case c == '=':
		return token{}, at, slipf(at, "= is no comparison, write ==")
	case strings.IndexByte("<>+-*/()", c) >= 0:
		return token{kind: operatorToken, at: at, text: string(c)}, at + 1, nil
	}
	r, size := utf8.DecodeRuneInString(text[at:])
	if r == utf8.RuneError && size <= 1 {
		return token{}, at, slipf(at, "the condition is not UTF-8")
	}
	return token{}, at, slipf(at, "%q has no meaning here; conditions are made of names, numbers, + - * / ( ), comparisons, and, or, not", r)
}

// lexLiteral reads $10, 5%, 3x, 5m, 1h30m, 30 days, 1_000_000 or 0.95.
func lexLiteral(text string, at int) (token, int, *slip) {
	t := token{kind: literalToken, at: at}
	if text[at] == '$' {
		n, end, wrong := lexNumber(text, at+1)
		if wrong != nil {
			return t, at, wrong
		}
		if rest := word(text, end); rest != "" {
			return t, at, slipf(end, "%q after an amount of money; write $10, $0.05 or $1_000", rest)
		}
		t.value = Value{kind: Money, rat: n}
		return t, end, nil
	}
	n, end, wrong := lexNumber(text, at)
	if wrong != nil {
		return t, at, wrong
	}
	if end < len(text) && text[end] == '%' {
		if n.Cmp(big.NewRat(percentMax, 1)) > 0 {
			return t, at, slipf(at, "%s%% is over %d%%", cut(n, 2), percentMax)
		}
		t.value = Value{kind: Number, rat: n.Quo(n, big.NewRat(100, 1))}
		return t, end + 1, nil
	}
	kind, size, next, wrong := lexUnit(text, end)
	if wrong != nil {
		return t, at, wrong
	}
	if size == nil {
		t.value, t.untyped = Value{kind: Number, rat: n}, true
		return t, end, nil
	}
	end = next
	sum := new(big.Rat).Mul(n, size)
	for kind == Duration && end < len(text) && isDigit(text[end]) { // 1h30m
		more, after, wrong := lexNumber(text, end)
		if wrong != nil {
			return t, at, wrong
		}
		also, smaller, next, wrong := lexUnit(text, after)
		if wrong != nil {
			return t, at, wrong
		}
		if also != Duration || smaller.Cmp(size) >= 0 {
			return t, at, slipf(end, "write durations from the largest unit to the smallest, as in 1h30m")
		}
		sum.Add(sum, more.Mul(more, smaller))
		end, size = next, smaller
	}
	t.value = Value{kind: kind, rat: sum}
	return t, end, nil
}

// lexUnit reads the unit after a number, with or without a blank between. size is nil if
// there is none.
func lexUnit(text string, at int) (kind Kind, size *big.Rat, end int, wrong *slip) {
	if unit := word(text, at); unit != "" {
		kind, size, ok := unitWords(unit)
		if !ok {
			// 1h30m: the unit is the letters alone.
			letters := strings.IndexFunc(unit, func(r rune) bool { return r >= '0' && r <= '9' })
			if letters > 0 {
				if kind, size, ok = unitWords(unit[:letters]); ok && kind == Duration {
					return kind, size, at + letters, nil
				}
			}
			return 0, nil, at, slipf(at, "%q is no unit; there are ms, s, m, h, d, w and their names, %%, x, USD, tokens and calls", unit)
		}
		return kind, size, at + len(unit), nil
	}
	next := at
	for next < len(text) && text[next] == ' ' {
		next++
	}
	unit := word(text, next)
	if next == at || slices.Contains([]string{"x", "m", "s", "d", "w", "h"}, unit) {
		return 0, nil, at, nil // a letter that stands alone is not read as a unit
	}
	if end := next + len(unit); end < len(text) && text[end] == '.' {
		return 0, nil, at, nil // usage.tokens
	}
	if kind, size, ok := unitWords(unit); ok {
		return kind, size, next + len(unit), nil
	}
	return 0, nil, at, nil
}

// lexNumber reads digits, with _ between them, and decimals.
func lexNumber(text string, at int) (*big.Rat, int, *slip) {
	end, digits, dots := at, 0, 0
	for ; end < len(text); end++ {
		c := text[end]
		switch {
		case isDigit(c):
			digits++
			continue
		case c == '_' && end > at && isDigit(text[end-1]) && end+1 < len(text) && isDigit(text[end+1]):
			continue
		case c == '.' && dots == 0 && end+1 < len(text) && isDigit(text[end+1]) && end > at:
			dots++
			continue
		case c == ',' && end > at && end+1 < len(text) && isDigit(text[end+1]):
			return nil, at, slipf(end, "a comma in a number; write 1_000_000, or 0.5 with a point")
		}
		break
	}
	if digits == 0 || digits > digitsMax {
		return nil, at, slipf(at, "a number of 1 to %d digits is missing", digitsMax)
	}
	n, ok := new(big.Rat).SetString(strings.ReplaceAll(text[at:end], "_", ""))
	if !ok {
		return nil, at, slipf(at, "%q is no number", text[at:end])
	}
	return n, end, nil
}

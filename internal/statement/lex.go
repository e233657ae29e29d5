package statement

import (
	"fmt"
	"strings"
)

// kind is what a token is.
type kind uint8

const (
	word   kind = iota // a keyword or a name; quoted names are without their quotes
	param              // {name:Type}, as it is written
	text               // a string
	number             // of any form
	punct              // an operator or a mark, one or two characters
)

type token struct {
	kind kind
	text string
	// quoted names are never keywords.
	quoted bool
}

// is reports whether a token is a keyword, in any case.
func (t token) is(keyword string) bool {
	return t.kind == word && !t.quoted && strings.EqualFold(t.text, keyword)
}

// mark reports whether a token is that mark or operator.
func (t token) mark(s string) bool { return t.kind == punct && t.text == s }

// lex splits a text into tokens, without comments.
func lex(sql string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.HasPrefix(sql[i:], "--"), c == '#':
			end := strings.IndexByte(sql[i:], '\n')
			if end < 0 {
				return tokens, nil
			}
			i += end
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("a comment at byte %d does not end", i)
			}
			i += end + 2
		case c == '\'' || c == '"' || c == '`':
			body, size, err := quotedAt(sql[i:])
			if err != nil {
				return nil, fmt.Errorf("at byte %d: %w", i, err)
			}
			t := token{kind: word, text: body, quoted: true}
			if c == '\'' {
				t = token{kind: text, text: body}
			}
			tokens = append(tokens, t)
			i += size
		case c == '{':
			end := strings.IndexByte(sql[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("a parameter at byte %d does not end", i)
			}
			tokens = append(tokens, token{kind: param, text: sql[i : i+end+1]})
			i += end + 1
		case isNameStart(c):
			n := 1
			for i+n < len(sql) && (isNameStart(sql[i+n]) || isDigit(sql[i+n])) {
				n++
			}
			tokens = append(tokens, token{kind: word, text: sql[i : i+n]})
			i += n
		case isDigit(c):
			n := 1
			for i+n < len(sql) && (isNameStart(sql[i+n]) || isDigit(sql[i+n])) {
				n++
			}
			tokens = append(tokens, token{kind: number, text: sql[i : i+n]})
			i += n
		default:
			n := 1
			if i+1 < len(sql) && twoMarks(sql[i:i+2]) {
				n = 2
			}
			tokens = append(tokens, token{kind: punct, text: sql[i : i+n]})
			i += n
		}
	}
	return tokens, nil
}

// twoMarks reports whether two characters are one operator: half of one must not be
// taken for "=".
func twoMarks(s string) bool {
	switch s {
	case "!=", "<>", "<=", ">=", "==", "->", "||", "::":
		return true
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quotedAt reads a quoted text: a quote within is doubled or behind a backslash.
func quotedAt(sql string) (body string, size int, err error) {
	quote := sql[0]
	var b strings.Builder
	for i := 1; i < len(sql); i++ {
		switch {
		case sql[i] == '\\' && i+1 < len(sql):
			i++
			b.WriteByte(sql[i])
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
			b.WriteByte(quote)
		case sql[i] == quote:
			return b.String(), i + 1, nil
		default:
			b.WriteByte(sql[i])
		}
	}
	return "", 0, fmt.Errorf("a text in %c does not end", quote)
}

// node is a token, or what is between two brackets.
type node struct {
	token
	group []node // of "(", "[" and "{"; the token is the bracket
}

// nest puts what is between brackets below them.
func nest(tokens []token) ([]node, error) {
	nodes, rest, err := nestUntil(tokens, "")
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("a %s without its beginning", rest[0].text)
	}
	return nodes, err
}

func nestUntil(tokens []token, closing string) (nodes []node, rest []token, err error) {
	for len(tokens) > 0 {
		t := tokens[0]
		tokens = tokens[1:]
		switch {
		case t.mark("(") || t.mark("["):
			end := map[string]string{"(": ")", "[": "]"}[t.text]
			var inner []node
			if inner, tokens, err = nestUntil(tokens, end); err != nil {
				return nil, nil, err
			}
			nodes = append(nodes, node{token: t, group: inner})
		case t.mark(")") || t.mark("]"):
			if t.text != closing {
				return nil, nil, fmt.Errorf("a %s without its beginning", t.text)
			}
			return nodes, tokens, nil
		default:
			nodes = append(nodes, node{token: t})
		}
	}
	if closing != "" {
		return nil, nil, fmt.Errorf("a bracket without its %s", closing)
	}
	return nodes, nil, nil
}

// isGroup reports whether a node is what is between round brackets.
func (n node) isGroup() bool { return n.mark("(") }

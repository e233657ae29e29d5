package engine

import (
	"strings"
)

// A small lexer of ClickHouse's SQL: enough to find a statement's kind, its
// FORMAT, and, on the reading door, what it must not contain. It never rewrites
// what it does not understand.

type tokenKind uint8

const (
	tokenWord   tokenKind = iota // keyword or bare identifier
	tokenQuoted                  // `name` or "name"
	tokenString                  // 'text' or $tag$text$tag$
	tokenNumber
	tokenPunct
	tokenBad // what the lexer does not know: a byte outside ASCII, an open quote or comment
)

type token struct {
	kind       tokenKind
	text       string // as written; unescaped for tokenQuoted
	start, end int
	depth      int // of parentheses around it
}

func (t token) is(word string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, word) }

func (t token) isPunct(text string) bool { return t.kind == tokenPunct && t.text == text }

// lex splits sql into tokens, at most maxTokens (0: all). Lexing stops at the
// first tokenBad, which is the last token then.
func lex(sql string, maxTokens int) []token {
	var out []token
	depth := 0
	for i := 0; i < len(sql) && (maxTokens == 0 || len(out) < maxTokens); {
		if skip, ok := lexSpace(sql[i:]); !ok {
			return append(out, token{kind: tokenBad, start: i, end: len(sql)})
		} else if skip > 0 {
			i += skip
			continue
		}
		t := lexOne(sql, i)
		if t.text == ")" && t.kind == tokenPunct {
			depth--
		}
		t.depth = depth
		if t.text == "(" && t.kind == tokenPunct {
			depth++
		}
		out = append(out, t)
		if t.kind == tokenBad {
			return out
		}
		i = t.end
	}
	return out
}

// lexSpace returns the length of the white space or comment at the start of s;
// false for a comment that does not end. Block comments nest, as in the engine.
func lexSpace(s string) (int, bool) {
	switch {
	case s[0] <= ' ':
		return 1, true
	case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "#!"), strings.HasPrefix(s, "# "):
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return i + 1, true
		}
		return len(s), true
	case strings.HasPrefix(s, "/*"):
		depth := 0
		for i := 0; i+1 < len(s); i++ {
			switch s[i : i+2] {
			case "/*":
				depth++
				i++
			case "*/":
				depth--
				i++
				if depth == 0 {
					return i + 1, true
				}
			}
		}
		return 0, false
	}
	return 0, true
}

func lexOne(sql string, i int) token {
	c := sql[i]
	switch {
	case isLetter(c):
		j := i + 1
		for j < len(sql) && (isLetter(sql[j]) || isDigit(sql[j])) {
			j++
		}
		return token{kind: tokenWord, text: sql[i:j], start: i, end: j}
	case isDigit(c):
		j := i + 1
		for j < len(sql) && (isLetter(sql[j]) || isDigit(sql[j])) {
			j++
		}
		return token{kind: tokenNumber, text: sql[i:j], start: i, end: j}
	case c == '\'' || c == '"' || c == '`':
		return lexQuoted(sql, i, c)
	case c == '$':
		return lexHeredoc(sql, i)
	case c < 0x80:
		return token{kind: tokenPunct, text: sql[i : i+1], start: i, end: i + 1}
	}
	return token{kind: tokenBad, start: i, end: len(sql)}
}

func lexQuoted(sql string, i int, quote byte) token {
	kind := tokenQuoted
	if quote == '\'' {
		kind = tokenString
	}
	var text strings.Builder
	for j := i + 1; j < len(sql); j++ {
		switch {
		case sql[j] == '\\' && j+1 < len(sql):
			j++
			text.WriteByte(sql[j])
		case sql[j] == quote && j+1 < len(sql) && sql[j+1] == quote:
			j++
			text.WriteByte(quote)
		case sql[j] == quote:
			return token{kind: kind, text: text.String(), start: i, end: j + 1}
		default:
			text.WriteByte(sql[j])
		}
	}
	return token{kind: tokenBad, start: i, end: len(sql)}
}

func lexHeredoc(sql string, i int) token {
	j := i + 1
	for j < len(sql) && (isLetter(sql[j]) || isDigit(sql[j])) {
		j++
	}
	if j >= len(sql) || sql[j] != '$' {
		return token{kind: tokenPunct, text: "$", start: i, end: i + 1}
	}
	tag := sql[i : j+1]
	n := strings.Index(sql[j+1:], tag)
	if n < 0 {
		return token{kind: tokenBad, start: i, end: len(sql)}
	}
	end := j + 1 + n + len(tag)
	return token{kind: tokenString, text: sql[j+1 : j+1+n], start: i, end: end}
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// insertHead is an INSERT whose data follows in a format.
type insertHead struct {
	into   string // INSERT INTO t (columns), up to the clause that follows
	tail   string // SETTINGS … FORMAT X
	data   int    // where the data begins in the text, if it is in the text
	found  bool
	values bool // VALUES: the data is SQL text
}

// splitInsert finds the parts of `INSERT INTO t (cols) [SETTINGS …] FORMAT X
// [data]`. What follows the format's name, after white space, is data and is
// not looked at.
func splitInsert(sql string) insertHead {
	const tokensMax = 20_000 // a statement of thousands of columns; data is never lexed to its end
	tokens := lexInsert(sql, tokensMax)
	settings := -1
	for i, t := range tokens {
		if t.depth != 0 || i < 2 {
			continue
		}
		switch {
		case t.is("VALUES"):
			return insertHead{found: true, values: true}
		case t.is("SELECT"), t.is("WITH"), t.is("INFILE"):
			return insertHead{}
		case t.is("SETTINGS") && settings < 0:
			settings = t.start
		case t.is("FORMAT") && i+1 < len(tokens) && tokens[i+1].kind == tokenWord:
			cut := t.start
			if settings >= 0 {
				cut = settings
			}
			end := tokens[i+1].end
			if tokens[i+1].is("VALUES") {
				return insertHead{found: true, values: true}
			}
			return insertHead{found: true, into: sql[:cut], tail: sql[cut:end], data: end}
		}
	}
	return insertHead{}
}

// lexInsert lexes until the word after the first FORMAT (or VALUES) outside
// parentheses, so that binary data behind it is never read as SQL.
func lexInsert(sql string, tokensMax int) []token {
	for n := 64; ; n *= 4 {
		tokens := lex(sql, min(n, tokensMax))
		for i, t := range tokens {
			if i >= 2 && t.depth == 0 && (t.is("VALUES") || t.is("FORMAT") && i+1 < len(tokens)) {
				return tokens[:min(i+2, len(tokens))]
			}
		}
		if len(tokens) < n || n >= tokensMax {
			return tokens
		}
	}
}

// kind is the statement's first word in upper case, past opening parentheses.
func kind(tokens []token) string {
	for _, t := range tokens {
		if t.kind == tokenWord {
			return strings.ToUpper(t.text)
		}
		if t.text != "(" {
			return ""
		}
	}
	return ""
}

// outputFormat is the name in the last FORMAT clause outside parentheses, or "".
func outputFormat(tokens []token) string {
	for i := len(tokens) - 2; i >= 0; i-- {
		if tokens[i].depth == 0 && tokens[i].is("FORMAT") && tokens[i+1].kind == tokenWord {
			return tokens[i+1].text
		}
	}
	return ""
}

// spoils reports whether a statement may change its connection's session. A
// wrong yes costs a millisecond; it looks at every statement of a list.
func spoils(tokens []token) bool {
	first := true
	for _, t := range tokens {
		switch {
		case first && (t.is("SET") || t.is("USE") || t.is("BEGIN") || t.is("COMMIT") || t.is("ROLLBACK") || t.is("EXECUTE")):
			return true
		case t.is("TEMPORARY"), t.kind == tokenBad:
			return true
		}
		first = t.kind == tokenPunct && t.text == ";"
	}
	return false
}

package ingest

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// depthMax bounds how deep JSON may nest inside an event. An event itself needs
// three levels and a provider's usage two more; sixteen leaves room for fields
// that providers add and keeps the recursion of skip flat.
const depthMax = 16

// A scanner reads JSON (RFC 8259) out of a byte slice in one pass: it hands out
// values, and the extent of values, without building a tree.
//
// It is stricter than the libraries in three points that matter to a meter. A
// number keeps its text, so that nothing passes through a float. A lone
// surrogate is an error instead of U+FFFD, or two different ids would become
// one. Nesting is bounded by depthMax instead of by the stack.
//
// Its errors are *schemas.FieldError without a pointer; who knows the field
// adds it with at.
type scanner struct {
	b     []byte
	i     int
	depth int
	// scratch holds the text of the last string that had escapes in it.
	scratch []byte
	// open holds the brackets that extent has met and not closed.
	open []byte
}

func (s *scanner) reset(b []byte) {
	const scratchMax = 64 << 10 // what one hostile body grew is not kept for ever
	s.b, s.i, s.depth = b, 0, 0
	if cap(s.scratch) > scratchMax {
		s.scratch = nil
	}
	if cap(s.open) > scratchMax {
		s.open = nil
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c > ' ' || (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
			return c
		}
		s.i++
	}
	return 0
}

// malformed says that the text at i is not JSON.
func (s *scanner) malformed(wanted string) error {
	if s.i >= len(s.b) {
		return schemas.Invalid("", schemas.CodeMalformed, "the JSON ends where %s belongs", wanted)
	}
	return schemas.Invalid("", schemas.CodeMalformed, "this is not JSON at byte %d: %q where %s belongs",
		s.i, string(rune(s.b[s.i])), wanted)
}

// mismatch says that the value at i is not of the wanted type, or not JSON.
func (s *scanner) mismatch(wanted string) error {
	found := ""
	switch s.peek() {
	case '"':
		found = "a string"
	case '{':
		found = "an object"
	case '[':
		found = "an array"
	case 't', 'f':
		found = "a boolean"
	case 'n':
		found = "null"
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		found = "a number"
	}
	if found == "" || (s.b[s.i] == 'n' && s.literal("null") != nil) {
		return s.malformed(wanted)
	}
	return schemas.Invalid("", schemas.CodeWrongType, "this is %s; it must be %s", found, wanted)
}

// enter reads '{' or '['.
func (s *scanner) enter(bracket byte, wanted string) error {
	if s.peek() != bracket {
		return s.mismatch(wanted)
	}
	if s.depth++; s.depth > depthMax {
		return schemas.Invalid("", schemas.CodeMalformed, "this nests deeper than %d levels", depthMax)
	}
	s.i++
	return nil
}

// key reads up to the value of an object's next member, or the object's end,
// for which more is false. The key is valid until the next string is read.
func (s *scanner) key(first bool) (key []byte, more bool, err error) {
	switch c := s.peek(); {
	case c == '}':
		s.i++
		s.depth--
		return nil, false, nil
	case first:
	case c == ',':
		s.i++
		s.peek()
	default:
		return nil, false, s.malformed("a comma or a closing brace")
	}
	if s.peek() != '"' {
		return nil, false, s.malformed("a member name")
	}
	if key, err = s.str(); err != nil {
		return nil, false, err
	}
	if s.peek() != ':' {
		return nil, false, s.malformed("a colon")
	}
	s.i++
	s.peek()
	return key, true, nil
}

// element stands before an array's next element, or after the array's end, for
// which more is false.
func (s *scanner) element(first bool) (more bool, err error) {
	switch c := s.peek(); {
	case c == ']' && first:
		s.i++
		s.depth--
		return false, nil
	case first && s.i < len(s.b):
		return true, nil
	case c == ']':
		s.i++
		s.depth--
		return false, nil
	case c == ',':
		s.i++
		if s.peek() == ']' {
			return false, s.malformed("a value")
		}
		return true, nil
	}
	return false, s.malformed("a comma or a closing bracket")
}

// str reads a string. The bytes are valid until the next string is read and
// while the input is.
func (s *scanner) str() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.mismatch("a string")
	}
	start := s.i + 1
	end := stringStop(s.b, start)
	if end < len(s.b) && s.b[end] == '"' {
		s.i = end + 1
		return s.b[start:end], nil
	}
	s.scratch = append(s.scratch[:0], s.b[start:end]...)
	s.i = end
	return s.strEscaped()
}

// strEscaped reads on in a string that has an escape, or an error, at i.
func (s *scanner) strEscaped() ([]byte, error) {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.i++
			return s.scratch, nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			return nil, schemas.Invalid("", schemas.CodeMalformed,
				"holds the unescaped control character 0x%02x at byte %d", s.b[s.i], s.i)
		}
		end := stringStop(s.b, s.i)
		s.scratch = append(s.scratch, s.b[s.i:end]...)
		s.i = end
	}
	return nil, s.malformed("the end of a string")
}

// escape reads one escape sequence into scratch.
func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		s.i = len(s.b)
		return s.malformed("an escape sequence")
	}
	c := s.b[s.i+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.escapeUnicode()
	default:
		return s.malformed("an escape sequence")
	}
	s.scratch = append(s.scratch, c)
	s.i += 2
	return nil
}

func (s *scanner) escapeUnicode() error {
	r, ok := hex4(s.b, s.i)
	if !ok {
		return s.malformed("an escape sequence of four hex digits")
	}
	s.i += 6
	if utf16.IsSurrogate(r) {
		low, ok := hex4(s.b, s.i)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return schemas.Invalid("", schemas.CodeMalformed,
				"holds half of a surrogate pair before byte %d; the text is not Unicode", s.i)
		}
		s.i += 6
	}
	s.scratch = utf8.AppendRune(s.scratch, r)
	return nil
}

// hex4 reads a \uXXXX at i.
func hex4(b []byte, i int) (rune, bool) {
	if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[i+2 : i+6] {
		digit, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// stringStop returns the index of the first byte at or after i that ends the
// plain part of a string: a quote, a backslash or a control character; len(b)
// if there is none. It looks at eight bytes at once: a byte is zero where
// (w-0x01…) &^ w has its high bit, and the lowest such bit is exact.
func stringStop(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		stop := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & highs
		if stop != 0 {
			return i + bits.TrailingZeros64(stop)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return i
}

// number reads a number and returns its text.
func (s *scanner) number(wanted string) ([]byte, error) {
	c := s.peek()
	if c != '-' && !isDigit(c) {
		return nil, s.mismatch(wanted)
	}
	start := s.i
	if c == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if err := s.digits(); err != nil {
		return nil, err
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	if s.i < len(s.b) && isDigit(s.b[s.i]) {
		return nil, s.malformed("the end of a number that begins with zero")
	}
	return s.b[start:s.i], nil
}

func (s *scanner) digits() error {
	start := s.i
	for s.i < len(s.b) && isDigit(s.b[s.i]) {
		s.i++
	}
	if s.i == start {
		return s.malformed("a digit")
	}
	return nil
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// integer reads a whole number that is written as one: 12.0 and 1e3 are
// refused, because who writes a count like that has it in a float.
func (s *scanner) integer() (int64, error) {
	text, err := s.number("an integer")
	if err != nil {
		return 0, err
	}
	var n uint64
	digits, neg := text, false
	if text[0] == '-' {
		digits, neg = text[1:], true
	}
	for _, c := range digits {
		if !isDigit(c) {
			return 0, schemas.Invalid("", schemas.CodeWrongType,
				"%s is not written as an integer; write whole numbers without point and exponent", clipped(text))
		}
		n = n*10 + uint64(c-'0')
	}
	const digitsMax = 18 // every number of 18 digits fits 64 bits, and every limit lies below
	if len(digits) > digitsMax {
		return 0, schemas.Invalid("", schemas.CodeOutOfRange, "%s does not fit 64 bits", clipped(text))
	}
	if neg {
		return -int64(n), nil
	}
	return int64(n), nil
}

// literal reads true, false or null.
func (s *scanner) literal(word string) error {
	if s.i+len(word) > len(s.b) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.malformed(strconv.Quote(word))
	}
	s.i += len(word)
	return nil
}

// skip reads one value of any type.
func (s *scanner) skip() error {
	switch s.peek() {
	case '"':
		_, err := s.str()
		return err
	case '{':
		if err := s.enter('{', ""); err != nil {
			return err
		}
		for first := true; ; first = false {
			if _, more, err := s.key(first); err != nil || !more {
				return err
			}
			if err := s.skip(); err != nil {
				return err
			}
		}
	case '[':
		if err := s.enter('[', ""); err != nil {
			return err
		}
		for first := true; ; first = false {
			if more, err := s.element(first); err != nil || !more {
				return err
			}
			if err := s.skip(); err != nil {
				return err
			}
		}
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, err := s.number("a value")
	return err
}

// extent reads one element of an array that need not be JSON inside, and
// reports whether its end could be told: strings are closed and brackets match.
// So a NaN, a forgotten comma or a nesting without end costs the element that
// holds it and not its neighbours.
func (s *scanner) extent() bool {
	s.open = s.open[:0]
	s.peek()
	for start := s.i; s.i < len(s.b); {
		switch c := s.b[s.i]; c {
		case '"':
			if !s.closeString() {
				return false
			}
			if len(s.open) == 0 {
				return true
			}
			continue
		case '{', '[':
			s.open = append(s.open, c+2) // '{'+2 is '}', '['+2 is ']'
		case '}', ']', ',':
			last := len(s.open) - 1
			if last < 0 {
				return s.i > start && c != '}'
			}
			if c == ',' {
				break
			}
			if s.open[last] != c {
				return false
			}
			if s.open = s.open[:last]; last == 0 {
				s.i++
				return true
			}
		}
		s.i++
	}
	return false
}

// closeString reads past the end of the string that begins at i.
func (s *scanner) closeString() bool {
	for s.i++; s.i < len(s.b); {
		s.i = stringStop(s.b, s.i)
		if s.i >= len(s.b) {
			return false
		}
		switch s.b[s.i] {
		case '"':
			s.i++
			return true
		case '\\':
			s.i++
		}
		s.i++
	}
	return false
}

package warehouse

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentik-os/panda/schemas"
)

// Param is a value for a {Name:Type} placeholder. The server parses it as that
// type; it is never part of the SQL text.
//
// Values: strings, integers, bool, time.Time (for DateTime64(3) and DateTime, as
// UTC; a DateTime refuses a fraction), schemas.Money (Decimal(38,12)), [16]byte
// (FixedString(16)), nil, and slices of strings, integers, times and [16]byte for
// Array(T).
type Param struct {
	Name  string
	Value any
}

// paramsMaxBytes bounds the parameters of one statement together: over HTTP they
// travel in the URL, which servers cut at 1 MiB.
const paramsMaxBytes = 768 << 10

func parameters(args []Param) (clickhouse.Parameters, error) {
	out := make(clickhouse.Parameters, len(args))
	size := 0
	for _, a := range args {
		text, err := paramText(a.Value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", a.Name, err)
		}
		if size += len(text); size > paramsMaxBytes {
			return nil, usagef("parameters have more than %d bytes: use a table or fewer values", paramsMaxBytes)
		}
		out[a.Name] = text
	}
	return out, nil
}

// paramText is the value in the text form that ClickHouse reads a parameter in.
func paramText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return `\N`, nil
	case string:
		return escapeText(v), nil
	}
	if list, ok := paramList(v); ok {
		parts := make([]string, len(list))
		for i, item := range list {
			text, quoted, err := scalarText(item)
			if err != nil {
				return "", err
			}
			if quoted {
				text = "'" + escapeQuoted(text) + "'"
			}
			parts[i] = text
		}
		// An array's text is not unescaped a second time, as a scalar's is.
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	text, _, err := scalarText(v)
	return text, err
}

// scalarText returns a scalar and whether it is quoted inside an array.
func scalarText(v any) (text string, quoted bool, err error) {
	switch v := v.(type) {
	case string:
		return v, true, nil
	case []byte:
		return string(v), true, nil
	case [16]byte:
		return string(v[:]), true, nil
	case bool:
		return strconv.FormatBool(v), false, nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), false, nil
	case time.Time:
		v = v.UTC()
		if v.Nanosecond() == 0 {
			return v.Format("2006-01-02 15:04:05"), true, nil
		}
		return v.Format("2006-01-02 15:04:05.000"), true, nil
	case schemas.Money:
		return v.String(), false, nil
	case fmt.Stringer:
		return v.String(), true, nil
	}
	return "", false, usagef("a value of type %T cannot be a parameter", v)
}

func paramList(v any) ([]any, bool) {
	switch v := v.(type) {
	case []string:
		return anys(v), true
	case []uint64:
		return anys(v), true
	case []uint32:
		return anys(v), true
	case []int64:
		return anys(v), true
	case []int:
		return anys(v), true
	case [][16]byte:
		return anys(v), true
	case []time.Time:
		return anys(v), true
	}
	return nil, false
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

var textEscaper = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)

func escapeText(s string) string { return textEscaper.Replace(s) }

var quotedEscaper = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\b", `\b`, "\f", `\f`)

func escapeQuoted(s string) string { return quotedEscaper.Replace(s) }

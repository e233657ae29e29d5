package ingest

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// EncodeEvent appends an event as one CloudEvent in JSON to dst: members in a
// fixed order, without white space, without what has its default. The same
// event always gives the same bytes, and DecodeEvent of them gives the event
// back, but for Flag, which is not on the wire.
func EncodeEvent(dst []byte, e *schemas.Event) []byte {
	dst = append(dst, `{"specversion":"`+specVersion+`"`...)
	dst = appendMember(dst, "id", e.ID)
	dst = appendMember(dst, "source", e.Source)
	dst = appendMember(dst, "type", string(e.Type))
	dst = append(dst, `,"time":"`...)
	dst = e.Timestamp().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","data":{`...)
	start := len(dst)
	dst = appendData(dst, e)
	if len(dst) > start { // every member begins with a comma
		dst = append(dst[:start], dst[start+1:]...)
	}
	return append(dst, "}}"...)
}

func appendData(dst []byte, e *schemas.Event) []byte {
	for _, m := range [...]struct{ key, value, standard string }{
		{"provider", e.Provider, ""}, {"model", e.Model, ""},
		{"department", e.Department, ""}, {"cost_center", e.CostCenter, ""},
		{"agent", e.Agent, ""}, {"user", e.User, ""}, {"session", e.Session, ""},
		{"run", e.Run, ""}, {"parent_run", e.ParentRun, ""},
		{"status", e.Status, schemas.StatusOK}, {"error", e.Error, ""},
		{"completeness", e.Completeness, schemas.CompletenessReported},
		{"service_tier", e.ServiceTier, ""},
	} {
		if m.value != "" && m.value != m.standard {
			dst = appendMember(dst, m.key, m.value)
		}
	}
	if e.LatencyMS != 0 {
		dst = append(dst, `,"latency_ms":`...)
		dst = strconv.AppendInt(dst, e.LatencyMS, 10)
	}
	if e.Tokens != (schemas.Tokens{}) {
		dst = append(dst, `,"tokens":`...)
		open := byte('{')
		for i, n := range e.Tokens {
			if n != 0 {
				dst = append(dst, open, '"')
				dst = append(dst, schemas.Bucket(i).String()...)
				dst = append(dst, '"', ':')
				dst = strconv.AppendInt(dst, n, 10)
				open = ','
			}
		}
		dst = append(dst, '}')
	}
	dst = appendUnits(dst, e)
	if len(e.Tags) > 0 {
		dst = append(dst, `,"tags":`...)
		for i, t := range e.Tags {
			dst = append(dst, "{,"[min(i, 1)])
			dst = appendQuoted(dst, t.Key)
			dst = append(dst, ':')
			dst = appendQuoted(dst, t.Value)
		}
		dst = append(dst, '}')
	}
	if e.Corrects != (schemas.EventRef{}) {
		dst = append(dst, `,"corrects":{"source":`...)
		dst = appendQuoted(dst, e.Corrects.Source)
		dst = appendMember(dst, "id", e.Corrects.ID)
		dst = append(dst, '}')
	}
	if e.HasAmount {
		dst = appendMember(dst, "amount", e.Amount.String())
	}
	return dst
}

// appendUnits writes the units, which on a resource.sample are levels.
func appendUnits(dst []byte, e *schemas.Event) []byte {
	if len(e.Units) == 0 {
		return dst
	}
	key := `,"units":`
	if e.Type == schemas.TypeResourceSample {
		key = `,"levels":`
	}
	dst = append(dst, key...)
	for i, u := range e.Units {
		dst = append(dst, "{,"[min(i, 1)])
		if e.Type == schemas.TypeResourceSample && u.Name == schemas.LevelStorageBytes {
			dst = append(dst, `"`+levelStorageGB+`":"`...)
			dst = appendGigabytes(dst, u.Count)
			dst = append(dst, '"')
			continue
		}
		dst = appendQuoted(dst, u.Name)
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, u.Count, 10)
	}
	return append(dst, '}')
}

// appendGigabytes writes bytes as gigabytes, exactly.
func appendGigabytes(dst []byte, bytes int64) []byte {
	const perGigabyte, decimals = 1_000_000_000, 9
	dst = strconv.AppendInt(dst, bytes/perGigabyte, 10)
	rest := bytes % perGigabyte
	if rest == 0 {
		return dst
	}
	text := strconv.FormatInt(perGigabyte+rest, 10) // a leading 1 keeps the zeros
	end := decimals + 1
	for text[end-1] == '0' {
		end--
	}
	dst = append(dst, '.')
	return append(dst, text[1:end]...)
}

func appendMember(dst []byte, key, value string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, key...)
	dst = append(dst, `":`...)
	return appendQuoted(dst, value)
}

// appendQuoted writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			i++
			continue
		default:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

package ingest

import (
	"maps"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// binaryPrefix begins the names of headers that carry attributes.
const binaryPrefix = "ce-"

// IsBinary reports whether headers carry a CloudEvent in binary mode.
func IsBinary(header map[string][]string) bool {
	for key := range header {
		if strings.EqualFold(key, binaryPrefix+"id") || strings.EqualFold(key, binaryPrefix+"specversion") {
			return true
		}
	}
	return false
}

// DecodeBinary decodes a CloudEvent in HTTP binary mode (CloudEvents 1.0, HTTP
// protocol binding §3.1): attributes in headers named ce-…, percent-encoded, and
// data as the body. The error is a *schemas.FieldError whose pointer is that of
// the same event in structured mode.
func DecodeBinary(header map[string][]string, data []byte) (schemas.Event, error) {
	var d EventDecoder
	e, err := d.binary(header, data)
	if err != nil {
		return schemas.Event{}, err
	}
	return e, nil
}

func (d *EventDecoder) binary(header map[string][]string, data []byte) (e schemas.Event, err error) {
	d.rewind()
	d.begin()
	if err := checkRaw(data); err != nil {
		return e, err
	}
	for _, key := range slices.Sorted(maps.Keys(header)) { // the same request gives the same error
		name, values := strings.ToLower(key), header[key]
		switch {
		case name == "content-type" && len(values) > 0:
			if !jsonMedia([]byte(values[0])) {
				return e, schemas.Invalid(attrPointers[attrContentType], schemas.CodeUnsupported,
					"%q is not JSON; data must be application/json", clipped([]byte(values[0])))
			}
		case strings.HasPrefix(name, binaryPrefix):
			if err := d.binaryAttribute(&e, name[len(binaryPrefix):], values); err != nil {
				return e, err
			}
		}
	}
	d.scan.reset(data)
	if d.scan.peek(); d.scan.i < len(data) {
		if err := d.data(&e); err != nil {
			return e, at("/data", err)
		}
		if d.scan.peek(); d.scan.i < len(data) {
			return e, at("/data", d.scan.malformed("the end of the text"))
		}
	}
	return e, d.finish(&e)
}

func (d *EventDecoder) binaryAttribute(e *schemas.Event, name string, values []string) error {
	a := attributeOf([]byte(name))
	switch a {
	case attrUnknown:
		return unknownAttribute([]byte(name))
	case attrData, attrDataBase64, attrContentType:
		return schemas.Invalid(attrPointers[a], schemas.CodeNotAllowed,
			"in binary mode the body is the data, and Content-Type says what it is")
	}
	if len(values) != 1 || d.attributes&(1<<a) != 0 {
		return repeated(attrPointers[a])
	}
	value, ok := headerText(values[0])
	if !ok {
		return schemas.Invalid(attrPointers[a], schemas.CodeMalformed,
			"%q is not percent-encoded; a percent sign itself is %%25", clipped([]byte(values[0])))
	}
	if err := checkRaw(value); err != nil {
		return at(attrPointers[a], err)
	}
	d.attributes |= 1 << a
	return at(attrPointers[a], d.attributeText(e, a, value))
}

// headerText undoes the encoding of an attribute in a header: one round of
// percent-encoding, after the quotes of a quoted string.
func headerText(s string) ([]byte, bool) {
	s = strings.Trim(s, " \t")
	quoted := len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"'
	if quoted {
		s = s[1 : len(s)-1]
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted && i+1 < len(s):
			i++
			out = append(out, s[i])
		case c == '%':
			if i+2 >= len(s) {
				return nil, false
			}
			high, okHigh := hexDigit(s[i+1])
			low, okLow := hexDigit(s[i+2])
			if !okHigh || !okLow {
				return nil, false
			}
			out = append(out, high<<4|low)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

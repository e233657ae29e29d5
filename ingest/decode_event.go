package ingest

import (
	"mime"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// An attribute is a member of a CloudEvent, by number.
type attribute uint8

const (
	attrUnknown attribute = iota
	attrSpecVersion
	attrID
	attrSource
	attrType
	attrTime
	attrContentType
	attrData
	// Known to CloudEvents or to tracing, checked to be strings, not kept.
	attrSubject
	attrSchema
	attrTraceParent
	attrTraceState
	// Known to CloudEvents and refused: it would hide JSON from the checks.
	attrDataBase64
	attrCount = int(iota)
)

// attrPointers are the pointers of the attributes.
var attrPointers = [attrCount]string{
	"", "/specversion", "/id", "/source", "/type", "/time", "/datacontenttype", "/data",
	"/subject", "/dataschema", "/traceparent", "/tracestate", "/data_base64",
}

func attributeOf(key []byte) attribute {
	switch string(key) {
	case "specversion":
		return attrSpecVersion
	case "id":
		return attrID
	case "source":
		return attrSource
	case "type":
		return attrType
	case "time":
		return attrTime
	case "datacontenttype":
		return attrContentType
	case "data":
		return attrData
	case "subject":
		return attrSubject
	case "dataschema":
		return attrSchema
	case "traceparent":
		return attrTraceParent
	case "tracestate":
		return attrTraceState
	case "data_base64":
		return attrDataBase64
	}
	return attrUnknown
}

func unknownAttribute(key []byte) error {
	return schemas.Invalid(pointerTo("", key), schemas.CodeUnknown,
		"%q is not an attribute of a usage event; put labels of your own in data.tags", clipped(key))
}

// event decodes the event at the scanner's position and checks it.
func (d *EventDecoder) event(e *schemas.Event) error {
	d.begin()
	s := &d.scan
	if err := s.enter('{', "an event, that is, an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		a := attributeOf(key)
		if a == attrUnknown {
			return unknownAttribute(key)
		}
		if d.attributes&(1<<a) != 0 {
			return repeated(attrPointers[a])
		}
		d.attributes |= 1 << a
		if s.peek() == 'n' && s.literal("null") == nil {
			d.attributes |= 1 << (a + 16) // null is unset, but may not come twice either
			continue
		}
		if err := d.attribute(e, a); err != nil {
			return at(attrPointers[a], err)
		}
	}
	return d.finish(e)
}

// begin forgets the event before.
func (d *EventDecoder) begin() {
	d.attributes, d.fields, d.usage, d.total = 0, 0, nil, 0
	d.levels = d.levelsSpace[:0]
}

func repeated(pointer string) error {
	return schemas.Invalid(pointer, schemas.CodeRepeated, "this is there twice; send it once")
}

// has reports whether the event has an attribute that is not null.
func (d *EventDecoder) has(a attribute) bool {
	return d.attributes>>a&1 == 1 && d.attributes>>(a+16)&1 == 0
}

func (d *EventDecoder) attribute(e *schemas.Event, a attribute) error {
	s := &d.scan
	switch a {
	case attrData:
		return d.data(e)
	case attrDataBase64:
		return schemas.Invalid("", schemas.CodeUnsupported, "send the data as JSON in data, not as base64")
	}
	b, err := s.str()
	if err != nil {
		return err
	}
	return d.attributeText(e, a, b)
}

// attributeText takes the text of an attribute.
func (d *EventDecoder) attributeText(e *schemas.Event, a attribute, b []byte) (err error) {
	switch a {
	case attrSpecVersion:
		if string(b) != specVersion {
			return schemas.Invalid("", schemas.CodeUnsupported,
				"CloudEvents %q is not known here; use specversion %q", clipped(b), specVersion)
		}
	case attrID:
		if err = fits(b, schemas.IDBytesMax); err == nil {
			e.ID = d.text(b)
		}
	case attrSource:
		if err = fits(b, schemas.IDBytesMax); err == nil {
			e.Source = d.name(b)
		}
	case attrType:
		e.Type, err = eventTypeOf(b)
	case attrTime:
		var ok bool
		if e.Time, ok = parseTime(b); !ok {
			return schemas.Invalid("", schemas.CodeMalformed,
				"%q is not an RFC 3339 time such as 2026-01-31T23:59:59.250Z", clipped(b))
		}
	case attrContentType:
		if !jsonMedia(b) {
			return schemas.Invalid("", schemas.CodeUnsupported, "%q is not JSON; data must be application/json", clipped(b))
		}
	}
	return err
}

// specVersion is the version of CloudEvents that is spoken here.
const specVersion = "1.0"

// fits checks a text's length before it is copied.
func fits(b []byte, bytesMax int) error {
	if len(b) > bytesMax {
		return schemas.Invalid("", schemas.CodeTooLong, "this has %d bytes; at most %d are taken", len(b), bytesMax)
	}
	return nil
}

// eventTypeOf returns the constant of a type's name, or an error.
func eventTypeOf(b []byte) (schemas.EventType, error) {
	for _, t := range [...]schemas.EventType{
		schemas.TypeLLMCall, schemas.TypeToolCall, schemas.TypeMessage,
		schemas.TypeResourceSample, schemas.TypeAdjustment, schemas.TypeVoid,
	} {
		if string(b) == string(t) {
			return t, nil
		}
	}
	var names []string
	for _, t := range schemas.EventTypes() {
		names = append(names, string(t))
	}
	return "", schemas.Invalid("", schemas.CodeUnknown, "%q is not an event type; use one of %s",
		clipped(b), strings.Join(names, ", "))
}

// jsonMedia reports whether a media type is JSON.
func jsonMedia(b []byte) bool {
	if string(b) == "application/json" || len(b) == 0 {
		return true
	}
	media, _, err := mime.ParseMediaType(string(b))
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// finish checks the event as a whole, once all its members are known.
func (d *EventDecoder) finish(e *schemas.Event) error {
	for _, need := range [...]struct {
		a    attribute
		hint string
	}{
		{attrSpecVersion, `a CloudEvent says specversion "1.0"`},
		{attrID, "an event needs an id; make it before the first send and keep it on every retry"},
		{attrSource, `an event needs a source, a URI that names its producer, such as "/runtime/eu-1"`},
		{attrType, "an event needs a type, such as llm.call"},
		{attrTime, "an event needs the time at which it happened, in RFC 3339"},
	} {
		if !d.has(need.a) {
			return schemas.Invalid(attrPointers[need.a], schemas.CodeMissing, "%s", need.hint)
		}
	}
	if err := d.finishData(e); err != nil {
		return err
	}
	return e.Validate()
}

package ingest

import (
	"errors"
	"hash/maphash"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// Decoded is one element of a batch: an event, or why it is none.
type Decoded struct {
	// Event is valid as far as that does not depend on when it arrived; see
	// schemas.Event.ValidateTime for the rest. It is meaningless when Err is set.
	Event schemas.Event
	// Err is nil or a *schemas.FieldError whose pointer leads into the event.
	Err error
	// Raw is the event's own JSON, a part of the input.
	Raw []byte
}

// DecodeEvent decodes one CloudEvent in structured JSON (CloudEvents 1.0, JSON
// event format). The error is a *schemas.FieldError; pointer "" means the text
// as a whole.
func DecodeEvent(raw []byte) (schemas.Event, error) {
	var d EventDecoder
	return d.one(raw)
}

// DecodeBatch decodes a JSON array of CloudEvents of at most limit elements. An
// element that is no event has its Err set and does not touch its neighbours,
// as long as strings and brackets show where it ends. The error, a
// *schemas.FieldError, is about the array.
func DecodeBatch(raw []byte, limit int) ([]Decoded, error) {
	return NewEventDecoder().Batch(raw, limit)
}

// DecodeDirect decodes what a runtime publishes by itself: one CloudEvent, or
// an array of at most schemas.BatchEventsMax. The error is about the whole; a
// single event that is none comes back as an element with Err, like in a batch.
func DecodeDirect(raw []byte) ([]Decoded, error) {
	return NewEventDecoder().Any(raw, schemas.BatchEventsMax)
}

// An EventDecoder decodes one batch after the other and keeps its buffers: what
// a method returns is valid until the next call, except for strings, which stay
// valid. It is for one goroutine at a time. The zero value works and remembers
// no strings.
type EventDecoder struct {
	scan scanner
	// names remembers short strings that come again: models, departments, tags.
	// A string has two places by its hash, and the next ones push it out, so it
	// never grows.
	names *[nameSlots]string
	seed  maphash.Seed
	// chunk holds the strings that do not come again, such as ids, together.
	chunk strings.Builder

	out   []Decoded
	units []schemas.Unit
	tags  []schemas.Tag

	// Of the event being decoded.
	attributes  uint32 // seen, by number
	fields      uint32 // seen in data, by number
	usage       []byte // the raw usage object
	levels      []schemas.Unit
	levelsSpace [3]schemas.Unit
	total       int64
}

const (
	nameSlots = 1024 // several times the distinct names of a usual batch
	// nameBytesMax is the longest string that is remembered.
	nameBytesMax = 64
	// chunkBytes is how many ids and the like share an allocation, and so the
	// most that one kept string can hold alive.
	chunkBytes = 8 << 10
)

// NewEventDecoder returns an EventDecoder that remembers strings.
func NewEventDecoder() *EventDecoder {
	return &EventDecoder{names: new([nameSlots]string), seed: maphash.MakeSeed()}
}

// Any decodes one event or an array of at most limit; see DecodeDirect.
func (d *EventDecoder) Any(raw []byte, limit int) ([]Decoded, error) {
	d.scan.reset(raw)
	if d.scan.peek() == '[' {
		return d.Batch(raw, limit)
	}
	d.rewind()
	e, err := d.one(raw)
	d.out = append(d.out, Decoded{Event: e, Err: err, Raw: raw})
	return d.out, nil
}

// yieldEvery is after how many events of a batch others are let through: 64 take half a
// millisecond, and a small batch that has come meanwhile does not wait for a large one.
const yieldEvery = 64

// Batch decodes an array of at most limit events; see DecodeBatch.
func (d *EventDecoder) Batch(raw []byte, limit int) ([]Decoded, error) {
	d.rewind()
	s := &d.scan
	s.reset(raw)
	if err := s.enter('[', "an array of events"); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		more, err := s.element(first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if len(d.out) == limit {
			return nil, schemas.Invalid("", schemas.CodeTooMany, "more than %d events; send them in several batches", limit)
		}
		if len(d.out)%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
		start := s.i
		s.depth = 0 // how deep an event may nest does not depend on how it is sent
		d.out = append(d.out, Decoded{})
		slot := &d.out[len(d.out)-1]
		slot.Err = d.event(&slot.Event)
		if slot.Err != nil {
			s.i = start
			if !s.extent() {
				return nil, schemas.Invalid("", schemas.CodeMalformed,
					"the array cannot be taken apart after element %d: a string or a bracket is not closed", len(d.out)-1)
			}
		}
		slot.Raw = raw[start:s.i]
		if slot.Err == nil {
			slot.Err = checkRaw(slot.Raw)
		}
	}
	if s.peek(); s.i < len(raw) {
		return nil, s.malformed("the end of the text")
	}
	return d.out, nil
}

// one decodes raw as one event.
func (d *EventDecoder) one(raw []byte) (e schemas.Event, err error) {
	if err := checkRaw(raw); err != nil {
		return e, err
	}
	d.scan.reset(raw)
	if err := d.event(&e); err != nil {
		return schemas.Event{}, err
	}
	if d.scan.peek(); d.scan.i < len(raw) {
		return schemas.Event{}, d.scan.malformed("the end of the text")
	}
	return e, nil
}

func (d *EventDecoder) rewind() {
	clear(d.out) // strings of the last batch are let go
	clear(d.units)
	clear(d.tags)
	d.out, d.units, d.tags = d.out[:0], d.units[:0], d.tags[:0]
}

// checkRaw checks what holds for an event's text as a whole.
func checkRaw(raw []byte) error {
	if len(raw) > schemas.EventBytesMax {
		return schemas.Invalid("", schemas.CodeTooLong, "the event has %d bytes; at most %d", len(raw), schemas.EventBytesMax)
	}
	if !utf8.Valid(raw) {
		return schemas.Invalid("", schemas.CodeMalformed, "the event is not UTF-8; encode it as UTF-8")
	}
	return nil
}

// name returns b as a string that is likely to come again.
func (d *EventDecoder) name(b []byte) string {
	if len(b) == 0 || d.names == nil || len(b) > nameBytesMax {
		return string(b)
	}
	i := maphash.Bytes(d.seed, b) % nameSlots
	newer, older := &d.names[i], &d.names[i^1]
	if string(b) == *newer { // compared, not converted
		return *newer
	}
	if string(b) == *older {
		return *older
	}
	*older, *newer = *newer, string(b)
	return *newer
}

// text returns b as a string that is not likely to come again.
func (d *EventDecoder) text(b []byte) string {
	if d.names == nil || len(b) > chunkBytes/8 {
		return string(b)
	}
	if d.chunk.Cap()-d.chunk.Len() < len(b) {
		d.chunk.Reset()
		d.chunk.Grow(chunkBytes)
	}
	start := d.chunk.Len()
	d.chunk.Write(b)
	return d.chunk.String()[start:]
}

// at adds the pointer to an error that has none yet.
func at(pointer string, err error) error {
	if field := (*schemas.FieldError)(nil); errors.As(err, &field) && field.Pointer == "" {
		field.Pointer = pointer
	}
	return err
}

// clipped shortens an input that is quoted in an error.
func clipped(b []byte) string {
	const clipMax = 64
	s := strings.ToValidUTF8(string(b[:min(len(b), clipMax)]), "\uFFFD")
	if len(b) > clipMax {
		s += "…"
	}
	return s
}

// pointerTo returns the JSON pointer (RFC 6901) to a member of parent.
func pointerTo(parent string, key []byte) string {
	return parent + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clipped(key))
}

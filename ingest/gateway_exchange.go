package ingest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/schemas"
)

// The verdicts a gateway gives; see Gateway.
const (
	verdictAccepted  = "accepted"
	verdictDuplicate = "duplicate"
	verdictConflict  = "conflict"
	verdictRejected  = "rejected"
)

// An eventVerdict is the answer about one event of a request.
type eventVerdict struct {
	verdict string
	// event is its index among the events that go to the log, -1 for none.
	event  int
	detail string
	err    *schemas.FieldError // of a rejected one
}

// An exchange is one request on its way to its answer, with buffers that the
// next one uses again. One goroutine owns it.
type exchange struct {
	wire   []byte // the body as sent, where it is compressed
	body   []byte
	single bool // the body is one event, not a batch

	decoder  *EventDecoder
	decoded  []Decoded // of the decoder
	verdicts []eventVerdict
	// events are those that go to the log, in order.
	events []schemas.Event
	// first finds an earlier event of the same identity: its index in decoded.
	first    map[schemas.EventRef]int
	envelope []byte
	answer   []byte

	shard  schemas.Shard // of the tenant
	seq    uint64        // of the last message stored
	counts struct{ accepted, duplicates, conflicts, rejected int }
	wired  int64 // bytes of the body as sent
}

func newExchange() *exchange {
	return &exchange{decoder: NewEventDecoder(), first: make(map[schemas.EventRef]int)}
}

// begin forgets the request before.
func (x *exchange) begin() {
	clear(x.first)
	clear(x.events) // lets the strings of the last request go
	clear(x.verdicts)
	*x = exchange{
		wire: x.wire[:0], body: x.body[:0], decoder: x.decoder, verdicts: x.verdicts[:0], events: x.events[:0],
		first: x.first, envelope: x.envelope[:0], answer: x.answer[:0],
	}
}

// reusable reports whether the buffers are of a size worth keeping.
func (x *exchange) reusable() bool {
	const keptMax = schemas.RequestBytesMax + 512<<10
	return cap(x.wire) <= keptMax && cap(x.body) <= keptMax && cap(x.envelope) <= keptMax && cap(x.answer) <= keptMax
}

// decode takes the body apart. An error is about the body as a whole.
func (x *exchange) decode(r *http.Request, batchMax int) (err error) {
	if isBinaryRequest(r) {
		e, err := x.decoder.binary(r.Header, x.body)
		x.decoded, x.single = []Decoded{{Event: e, Err: err, Raw: x.body}}, true
		return nil
	}
	if x.decoded, err = x.decoder.Any(x.body, batchMax); err != nil {
		return wholeBody(err)
	}
	x.single = len(x.decoded) == 1 && firstByte(x.body) != '['
	if x.single && x.decoded[0].Err != nil && !json.Valid(x.body) {
		return wholeBody(x.decoded[0].Err)
	}
	return nil
}

func firstByte(body []byte) byte {
	s := scanner{b: body}
	return s.peek()
}

// wholeBody makes the answer to a body that cannot be taken apart.
func wholeBody(err error) error {
	field := (*schemas.FieldError)(nil)
	if !errors.As(err, &field) {
		return err
	}
	p := httpapi.Problem{Status: http.StatusBadRequest, Code: httpapi.CodeInvalid, Title: "Not a batch of events",
		Detail: field.Detail, Errors: []httpapi.FieldProblem{{Pointer: field.Pointer, Code: field.Code, Detail: field.Detail}}}
	if field.Code == schemas.CodeTooMany {
		p.Status, p.Code, p.Title = http.StatusRequestEntityTooLarge, httpapi.CodeTooLarge, "Too many events"
	}
	return p
}

// judge gives each event its verdict and collects those that go to the log.
func (x *exchange) judge(now time.Time, pastMax time.Duration) {
	for i := range x.decoded {
		d := &x.decoded[i]
		if d.Err == nil {
			d.Err = d.Event.ValidateTime(now, pastMax)
		}
		x.verdicts = append(x.verdicts, eventVerdict{verdict: verdictAccepted, event: -1})
		v := &x.verdicts[i]
		if d.Err == nil {
			x.collect(i, v)
			continue
		}
		v.verdict = verdictRejected
		failpoint.Reached(failpoint.EventRejected)
		x.counts.rejected++
		if !errors.As(d.Err, &v.err) {
			panic("ingest: a decoder's error is no FieldError; the client could not be told what is wrong")
		}
	}
}

// collect puts event i among those that go to the log, unless the batch holds
// it already.
func (x *exchange) collect(i int, v *eventVerdict) {
	e := &x.decoded[i].Event
	ref := schemas.EventRef{Source: e.Source, ID: e.ID}
	earlier, again := x.first[ref]
	switch {
	case !again:
		x.first[ref] = i
		x.counts.accepted++
	case ContentOf(e) == ContentOf(&x.decoded[earlier].Event):
		v.verdict = verdictDuplicate
		v.detail = "the same event is at index " + strconv.Itoa(earlier) + "; it counts once"
		x.counts.duplicates++
		return
	default:
		failpoint.Reached(failpoint.BatchConflictStored)
		v.verdict = verdictConflict
		v.detail = "another event of this source and id is at index " + strconv.Itoa(earlier) +
			"; that one counts, this one is kept with the conflicts"
		x.counts.conflicts++
	}
	v.event = len(x.events)
	x.events = append(x.events, *e)
}

// stored notes that n events from the given one are on the log.
func (x *exchange) stored(from, n int, seq uint64, duplicate bool) {
	x.seq = seq
	if !duplicate {
		return
	}
	failpoint.Reached(failpoint.EnvelopeKnown)
	for i := range x.verdicts {
		v := &x.verdicts[i]
		if v.event < from || v.event >= from+n || v.verdict != verdictAccepted {
			continue
		}
		v.verdict, v.detail = verdictDuplicate, "the same batch is on the log already; it counts once"
		x.counts.accepted--
		x.counts.duplicates++
	}
}

// pointer leads from the body to a part of event i.
func (x *exchange) pointer(i int, inEvent string) string {
	if x.single {
		return inEvent
	}
	return "/" + strconv.Itoa(i) + inEvent
}

// allRejected makes the answer to a request without one good event.
func (x *exchange) allRejected() error {
	p := httpapi.Problem{Status: http.StatusUnprocessableEntity, Code: httpapi.CodeInvalid, Title: "No valid event"}
	for i := range x.verdicts {
		err := x.verdicts[i].err
		p.Errors = append(p.Errors, httpapi.FieldProblem{
			Pointer: x.pointer(i, err.Pointer), Code: err.Code, Detail: err.Detail})
	}
	p.Detail = p.Errors[0].Detail
	if len(p.Errors) > 1 {
		p.Detail = "none of the " + strconv.Itoa(len(p.Errors)) + " events is valid"
	}
	return p
}

// writeAnswer writes the body of a 200 into answer.
func (x *exchange) writeAnswer(onlyRejected bool) {
	b := append(x.answer[:0], `{"accepted":`...)
	b = strconv.AppendInt(b, int64(x.counts.accepted), 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, int64(x.counts.duplicates), 10)
	b = append(b, `,"conflicts":`...)
	b = strconv.AppendInt(b, int64(x.counts.conflicts), 10)
	b = append(b, `,"rejected":`...)
	b = strconv.AppendInt(b, int64(x.counts.rejected), 10)
	b = append(b, `,"stream":"`...)
	b = append(b, x.shard.Stream()...)
	b = append(b, '"')
	if x.seq > 0 {
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, x.seq, 10)
	}
	b = append(b, `,"events":[`...)
	written := 0
	for i := range x.verdicts {
		if onlyRejected && x.verdicts[i].verdict == verdictAccepted {
			continue
		}
		if written++; written > 1 {
			b = append(b, ',')
		}
		b = x.appendVerdict(b, i)
	}
	x.answer = append(b, "]}\n"...)
}

func (x *exchange) appendVerdict(b []byte, i int) []byte {
	v := &x.verdicts[i]
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	if id := x.decoded[i].Event.ID; id != "" {
		b = appendMember(b, "id", id)
	}
	b = appendMember(b, "verdict", v.verdict)
	if v.err != nil {
		b = appendMember(b, "code", v.err.Code)
		b = appendMember(b, "pointer", x.pointer(i, v.err.Pointer))
		b = appendMember(b, "detail", v.err.Detail)
	} else if v.detail != "" {
		b = appendMember(b, "detail", v.detail)
	}
	return append(b, '}')
}

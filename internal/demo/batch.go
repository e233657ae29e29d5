package demo

import "github.com/agentik-os/panda/schemas"

// A Door is a way into the pipeline.
type Door uint8

// The doors.
const (
	DoorHTTP Door = iota // POST /v1/events
	DoorNATS             // publish to usage.<tenant id>
)

// A Batch is one request or message of one tenant.
type Batch struct {
	// Tenant is the place in Tenants.
	Tenant int
	Door   Door
	Body   []byte
	// Events is the number of elements, First how many of them are calls sent for
	// the first time, Rejected how many the gateway must refuse.
	Events, First, Rejected int
	// Last batches may be sent only after everything before them was
	// acknowledged, and one after the other: they correct and contradict earlier
	// events, and the first of two on the log wins.
	Last bool
}

// kind says what an element of a batch is.
type kind uint8

const (
	kindFirst    kind = iota // a call, for the first time
	kindAgain                // a call that was sent before, or that is sent late
	kindOther                // anything else that the gateway takes
	kindRejected             // what the gateway refuses
)

// builder fills a batch. Its events may be sent again with the next one, so it
// knows where they are.
type builder struct {
	tenant, number int
	eventsMax      int
	door           Door
	body           []byte
	events         int
	first          int
	rejected       int
	firsts         []span // the events of kindFirst
}

type span struct{ from, to int }

// directOf: one batch in 32 takes the door of NATS.
const directOf = 32

func (b *builder) open(tenant, number, eventsMax int) {
	door := DoorHTTP
	if number%directOf == tenant+1 {
		door = DoorNATS
	}
	// A batch is handed out with its body, so the next one needs another.
	const usualEventBytes = 440
	*b = builder{tenant: tenant, number: number, eventsMax: eventsMax, door: door, firsts: b.firsts[:0],
		body: make([]byte, 0, min(eventsMax*usualEventBytes, schemas.RequestBytesMax))}
}

// begin starts an element and returns its place.
func (b *builder) begin() int {
	if b.events == 0 {
		b.body = append(b.body, '[')
	} else {
		b.body = append(b.body, ',')
	}
	b.events++
	return len(b.body)
}

// end ends the element that began at from.
func (b *builder) end(from int, k kind) {
	switch k {
	case kindFirst:
		b.first++
		b.firsts = append(b.firsts, span{from, len(b.body)})
	case kindRejected:
		b.rejected++
	}
}

// full reports that two events may not fit any more. An event of the demo is
// well under a KiB.
func (b *builder) full() bool {
	const spare = 8 << 10
	return b.events+2 > b.eventsMax || len(b.body) > schemas.RequestBytesMax-spare
}

func (b *builder) close() Batch {
	return Batch{Tenant: b.tenant, Door: b.door, Body: append(b.body, ']'),
		Events: b.events, First: b.first, Rejected: b.rejected}
}

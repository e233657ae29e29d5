package ingest

import "github.com/agentik-os/panda/schemas"

// A candidate is an event with its place in the log, before its verdict.
type candidate struct {
	tenant     string
	seq        uint64
	idx        uint16
	receivedAt int64          // broker's timestamp, Unix milliseconds
	event      *schemas.Event // of the decoded message; it is not changed
	key        Key
	content    uint64
}

// KeyRow is what is known of an accepted event's identity: its content and the
// sequence of the message that brought it.
type KeyRow struct {
	Content uint64
	Seq     uint64
}

// A NewKey is an identity that a range adds.
type NewKey struct {
	Key Key
	KeyRow
}

// A Conflict is an event whose id was taken by other content.
type Conflict struct {
	Tenant     string
	Seq        uint64
	Idx        uint16
	ReceivedAt int64
	Event      schemas.Event
	FirstSeq   uint64
}

// A Quarantined is a message or an event that could not be judged, kept whole.
type Quarantined struct {
	Tenant     string
	Seq        uint64
	Idx        uint16
	ReceivedAt int64
	Subject    string
	Reason     string
	Pointer    string
	Detail     string
	Body       []byte
}

// The reasons for quarantine that are not codes of a schemas.FieldError.
const (
	ReasonUnreadable  = "unreadable"          // not an envelope, not JSON
	ReasonForged      = "forged"              // signature does not fit
	ReasonVoidUnknown = "void_target_unknown" // nothing with that id was accepted before
	ReasonVoidTwice   = "void_target_voided"  // it was taken back already
	ReasonVoidOfVoid  = "void_target_is_void" // a void cannot be taken back
)

// A verdictRange is what the log holds between two commits, judged: everything
// the tables get for it, and the ledger row that says so. It is a pure function
// of the log's records, of what earlier ranges accepted, and of the price book
// revisions on the log; so writing it twice writes the same rows.
type verdictRange struct {
	accepted    []schemas.Accepted
	keys        []NewKey
	conflicts   []Conflict
	quarantined []Quarantined
	events      uint64
	duplicates  uint64
}

// judge gives verdicts. known holds the keys of earlier ranges that this range
// may repeat: every key that the filter called possibly seen. targets holds the
// accepted rows, of earlier ranges, that voids of this range name.
type judge struct {
	known   map[Key]KeyRow
	targets map[Key]schemas.Accepted
	rate    func(*schemas.Event) schemas.Rating

	seen map[Key]seenRow // what this range accepted so far
	out  *verdictRange
}

type seenRow struct {
	KeyRow
	at int // index in out.accepted
}

// event gives one event its verdict, in log order. Precedence: an identity that
// is known decides first (duplicate or conflict), then a void must find its
// target, and what is left is new.
func (j *judge) event(c *candidate) {
	j.out.events++
	if first, ok := j.lookup(c.key); ok {
		if first.Content == c.content {
			j.out.duplicates++
			return
		}
		j.out.conflicts = append(j.out.conflicts, Conflict{
			Tenant: c.tenant, Seq: c.seq, Idx: c.idx, ReceivedAt: c.receivedAt,
			Event: *c.event, FirstSeq: first.Seq,
		})
		return
	}
	if c.event.Type == schemas.TypeVoid {
		j.void(c)
		return
	}
	rating := j.rate(c.event)
	a := schemas.Accepted{
		Event: *c.event, Calls: schemas.CallsOf(c.event.Type),
		Cost: rating.Cost, Priced: rating.Priced, UnpricedReason: rating.Reason, PriceRevision: rating.Revision,
	}
	if rating.Model != "" && rating.Model != a.Event.Model {
		a.ReportedModel, a.Event.Model = a.Event.Model, rating.Model
	}
	if a.Event.Provider == "" {
		a.Event.Provider = rating.Provider
	}
	j.accept(c, a)
}

func (j *judge) accept(c *candidate, a schemas.Accepted) {
	a.Tenant, a.Seq, a.Idx, a.ReceivedAt = c.tenant, c.seq, c.idx, c.receivedAt
	row := KeyRow{Content: c.content, Seq: c.seq}
	j.seen[c.key] = seenRow{row, len(j.out.accepted)}
	j.out.accepted = append(j.out.accepted, a)
	j.out.keys = append(j.out.keys, NewKey{c.key, row})
}

// void turns a void into the negation of the row it names.
func (j *judge) void(c *candidate) {
	claim := VoidKeyOf(c.tenant, c.event.Corrects)
	if _, ok := j.lookup(claim); ok {
		j.refuse(c, ReasonVoidTwice, "the event it names was voided before; nothing is left to take back")
		return
	}
	target, ok := j.target(c.tenant, c.event.Corrects)
	if !ok {
		j.refuse(c, ReasonVoidUnknown, "no event with that source and id was accepted before it; replay it when that event has come")
		return
	}
	if target.Event.Type == schemas.TypeVoid {
		j.refuse(c, ReasonVoidOfVoid, "the event it names is a void itself; send the usage again under a new id instead")
		return
	}
	j.accept(c, negation(c, &target))
	row := KeyRow{Content: c.content, Seq: c.seq}
	j.seen[claim] = seenRow{row, -1}
	j.out.keys = append(j.out.keys, NewKey{claim, row})
}

// negation returns the row that takes target back: its time and names, so that
// the same windows change, with every count and the cost negated.
func negation(c *candidate, target *schemas.Accepted) schemas.Accepted {
	e := target.Event
	e.ID, e.Source, e.Type = c.event.ID, c.event.Source, schemas.TypeVoid
	e.Corrects = c.event.Corrects
	e.Tokens = target.Event.Tokens.Negate()
	e.Units = nil
	for _, u := range target.Event.Units {
		e.Units = append(e.Units, schemas.Unit{Name: u.Name, Count: -u.Count})
	}
	if target.Event.Type == schemas.TypeResourceSample {
		e.Units = nil // a level is replaced, not taken back
	}
	return schemas.Accepted{
		Event: e, ReportedModel: target.ReportedModel, Calls: -target.Calls,
		Cost: target.Cost.Neg(), Priced: target.Priced, UnpricedReason: target.UnpricedReason,
		PriceRevision: target.PriceRevision,
	}
}

func (j *judge) refuse(c *candidate, reason, detail string) {
	j.out.quarantined = append(j.out.quarantined, Quarantined{
		Tenant: c.tenant, Seq: c.seq, Idx: c.idx, ReceivedAt: c.receivedAt,
		Subject: schemas.DirectSubject(c.tenant), Reason: reason, Pointer: "/data/corrects",
		Detail: detail, Body: EncodeEvent(nil, c.event),
	})
}

func (j *judge) lookup(k Key) (KeyRow, bool) {
	if row, ok := j.seen[k]; ok {
		return row.KeyRow, true
	}
	row, ok := j.known[k]
	return row, ok
}

func (j *judge) target(tenant string, ref schemas.EventRef) (schemas.Accepted, bool) {
	key := KeyOf(tenant, ref.Source, ref.ID)
	if row, ok := j.seen[key]; ok {
		return j.out.accepted[row.at], true
	}
	row, ok := j.targets[key]
	return row, ok
}

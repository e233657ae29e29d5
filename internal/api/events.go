package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

const (
	pageDefault = 50
	pageMax     = 1000
	// tailWaitMax bounds how long a tail request waits for a new event.
	tailWaitMax = 20 * time.Second
	// tailPoll is how often it looks while it waits.
	tailPoll = 250 * time.Millisecond
)

type eventView struct {
	Seq            uint64          `json:"seq"`
	Idx            uint16          `json:"idx"`
	ReceivedAt     time.Time       `json:"received_at"`
	Event          json.RawMessage `json:"event"`
	ReportedModel  string          `json:"reported_model,omitempty"`
	Calls          int8            `json:"calls"`
	Cost           *schemas.Money  `json:"cost"`
	UnpricedReason string          `json:"unpriced_reason,omitempty"`
	PriceRevision  uint32          `json:"price_revision"`
	Lines          []lineView      `json:"lines,omitempty"`
}

// lineView is one multiplication of a cost.
type lineView struct {
	Item        string        `json:"item"`
	Quantity    int64         `json:"quantity"`
	UnitPrice   schemas.Money `json:"unit_price"`
	ServiceTier string        `json:"service_tier,omitempty"`
	ContextOver int64         `json:"context_over,omitempty"`
	Amount      schemas.Money `json:"amount"`
}

func viewOf(a *schemas.Accepted) eventView {
	v := eventView{
		Seq: a.Seq, Idx: a.Idx, ReceivedAt: time.UnixMilli(a.ReceivedAt).UTC(), Event: eventJSON(&a.Event),
		ReportedModel: a.ReportedModel, Calls: a.Calls, UnpricedReason: a.UnpricedReason, PriceRevision: a.PriceRevision,
	}
	if a.Priced {
		v.Cost = &a.Cost
	}
	return v
}

// events is GET /v1/events: one event by id, the tail after a place, or a page
// of the newest.
func (a *API) events(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant.ID)
	q := r.URL.Query()
	switch {
	case q.Get("id") != "":
		return a.oneEvent(w, r, stages, tenant.ID)
	case q.Has("after"):
		return a.tail(w, r, scope, stages, tenant.ID)
	}
	limit, err := intQuery(r, "limit", pageDefault, 1, pageMax)
	if err != nil {
		return err
	}
	list := "events\x00" + tenant.ID
	cursor, err := a.Cursors.Decode(scope, list, q.Get("cursor"))
	if err != nil {
		return err
	}
	rows, next, err := stages.of(tenant.ID).Reader.Recent(r.Context(), tenant.ID, int(limit), cursor)
	if err != nil {
		return err
	}
	if next != "" {
		next = a.Cursors.Encode(scope, list, next)
	}
	return writeEvents(w, rows, next)
}

func writeEvents(w http.ResponseWriter, rows []schemas.Accepted, next string) error {
	views := make([]eventView, len(rows))
	for i := range rows {
		views[i] = viewOf(&rows[i])
	}
	return writeJSON(w, struct {
		Events     []eventView `json:"events"`
		NextCursor string      `json:"next_cursor,omitempty"`
	}{views, next})
}

// oneEvent shows everything that counts for one event, with its arithmetic.
func (a *API) oneEvent(w http.ResponseWriter, r *http.Request, stages *Stages, tenant string) error {
	q := r.URL.Query()
	var rows []schemas.Accepted
	var err error
	if source := q.Get("source"); source != "" {
		rows, err = stages.of(tenant).Reader.Find(r.Context(), tenant, source, q.Get("id"))
	} else {
		rows, err = stages.of(tenant).Reader.FindAny(r.Context(), tenant, q.Get("id"))
	}
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return httpapi.NotFound()
	}
	views := make([]eventView, len(rows))
	for i := range rows {
		views[i] = viewOf(&rows[i])
		if views[i].Lines, err = a.lines(r, &rows[i]); err != nil {
			return err
		}
	}
	return writeJSON(w, struct {
		Events []eventView `json:"events"`
	}{views})
}

// lines explains a cost by the price revision that was in force.
func (a *API) lines(r *http.Request, row *schemas.Accepted) ([]lineView, error) {
	if !row.Priced || row.PriceRevision == 0 || row.Event.Type == schemas.TypeVoid {
		return nil, nil
	}
	book, err := a.Prices.Book(r.Context(), row.PriceRevision)
	if err != nil {
		return nil, err
	}
	var views []lineView
	for _, l := range book.Explain(&row.Event) {
		views = append(views, lineView{l.Item, l.Quantity, schemas.Pico(l.PricePico), l.ServiceTier, l.ContextOver, l.Amount})
	}
	return views, nil
}

// tail returns events after a place, oldest first, and waits for the first one. Who
// loses access while it waits is told so at once.
func (a *API) tail(w http.ResponseWriter, r *http.Request, scope tenancy.Scope, stages *Stages, tenant string) error {
	seq, idx, err := parsePlace("after", r.URL.Query().Get("after"))
	if err != nil {
		return err
	}
	limit, err := intQuery(r, "limit", pageDefault, 1, pageMax)
	if err != nil {
		return err
	}
	wait := time.Duration(0)
	if text := r.URL.Query().Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
			return schemas.Invalid("/wait", schemas.CodeMalformed, "%q is not a duration such as 10s", text)
		}
	}
	deadline := time.NewTimer(min(wait, tailWaitMax))
	defer deadline.Stop()
	poll := time.NewTicker(tailPoll)
	defer poll.Stop()
	for {
		if err := a.still(scope, tenant); err != nil {
			return err
		}
		rows, err := stages.of(tenant).Reader.After(r.Context(), tenant, seq, idx, int(limit))
		if err != nil || len(rows) > 0 {
			if err != nil {
				return err
			}
			return writeEvents(w, rows, "")
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-deadline.C:
			return writeEvents(w, nil, "")
		case <-poll.C:
		}
	}
}

// lookup is POST /v1/events/lookup: which of these ids were accepted, and from
// which message.
func (a *API) lookup(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	var ask struct {
		Source  string   `json:"source"`
		IDs     []string `json:"ids"`
		WaitSeq uint64   `json:"wait_seq"`
	}
	if err := httpapi.DecodeJSON(w, r, schemas.RequestBytesMax, &ask); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	if ask.WaitSeq > 0 {
		if err := stages.of(tenant.ID).Live.WaitFor(r.Context(), ask.WaitSeq); err != nil {
			return err
		}
		if err := a.still(scope, tenant.ID); err != nil {
			return err
		}
	}
	found, err := stages.of(tenant.ID).Tables.Lookup(r.Context(), tenant.ID, ask.Source, ask.IDs)
	if err != nil {
		return err
	}
	type hit struct {
		ID  string `json:"id"`
		Seq uint64 `json:"seq"`
	}
	answer := struct {
		Found   []hit    `json:"found"`
		Missing []string `json:"missing"`
	}{[]hit{}, []string{}}
	for _, id := range ask.IDs {
		if seq, ok := found[id]; ok {
			answer.Found = append(answer.Found, hit{id, seq})
		} else {
			answer.Missing = append(answer.Missing, id)
		}
	}
	return writeJSON(w, answer)
}

// page reads limit and cursor of a list that runs from the newest places of some shards
// back.
func (a *API) page(r *http.Request, scope tenancy.Scope, list string, shards int) (before []ingest.Place, limit uint64, err error) {
	if limit, err = intQuery(r, "limit", pageDefault, 1, pageMax); err != nil {
		return nil, 0, err
	}
	text := ""
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		if text, err = a.Cursors.Decode(scope, list, cursor); err != nil {
			return nil, 0, err
		}
	}
	before, err = parsePlaces(text, shards)
	return before, limit, err
}

type conflictView struct {
	Tenant     string          `json:"tenant"`
	Seq        uint64          `json:"seq"`
	Idx        uint16          `json:"idx"`
	ReceivedAt time.Time       `json:"received_at"`
	Source     string          `json:"source"`
	ID         string          `json:"id"`
	FirstSeq   uint64          `json:"first_seq"`
	Event      json.RawMessage `json:"event"`
}

// conflicts is GET /v1/conflicts.
func (a *API) conflicts(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	shards := stages.about(tenant)
	before, limit, err := a.page(r, scope, "conflicts", len(shards))
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant)
	rows, more, err := newest(shards, before, int(limit), func(s *Shard, before ingest.Place) ([]ingest.ConflictRow, error) {
		return s.Tables.Conflicts(r.Context(), tenant, before, uint32(limit))
	}, func(c *ingest.ConflictRow) (ingest.Place, int64) {
		return ingest.Place{Seq: c.Seq, Idx: c.Idx}, c.ReceivedAt
	})
	if err != nil {
		return err
	}
	views := make([]conflictView, len(rows))
	for i, c := range rows {
		views[i] = conflictView{c.Tenant, c.Seq, c.Idx, time.UnixMilli(c.ReceivedAt).UTC(), c.Source, c.ID, c.FirstSeq, c.Body}
	}
	next := ""
	if more != nil {
		next = a.Cursors.Encode(scope, "conflicts", placesText(more))
	}
	return writeJSON(w, struct {
		Conflicts  []conflictView `json:"conflicts"`
		NextCursor string         `json:"next_cursor,omitempty"`
	}{views, next})
}

type quarantineView struct {
	ID         string    `json:"id"`
	Tenant     string    `json:"tenant"`
	ReceivedAt time.Time `json:"received_at"`
	Subject    string    `json:"subject"`
	Reason     string    `json:"reason"`
	Pointer    string    `json:"pointer"`
	Detail     string    `json:"detail"`
	Body       string    `json:"body"`
	State      string    `json:"state"`
}

// quarantine is GET /v1/quarantine.
func (a *API) quarantine(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	state := r.URL.Query().Get("state")
	switch state {
	case "", ingest.StateOpen, ingest.StateReplayed:
	default:
		return schemas.Invalid("/state", schemas.CodeUnknown, "%q is not a state; use open or replayed", state)
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	shards := stages.about(tenant)
	before, limit, err := a.page(r, scope, "quarantine", len(shards))
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant)
	rows, more, err := newest(shards, before, int(limit), func(s *Shard, before ingest.Place) ([]ingest.QuarantineRow, error) {
		return s.Tables.Quarantine(r.Context(), tenant, state, before, uint32(limit))
	}, func(q *ingest.QuarantineRow) (ingest.Place, int64) {
		return ingest.Place{Seq: q.Seq, Idx: q.Idx}, q.ReceivedAt
	})
	if err != nil {
		return err
	}
	views := make([]quarantineView, len(rows))
	for i := range rows {
		q := &rows[i]
		views[i] = quarantineView{
			placeText(q.Seq, q.Idx), q.Tenant, time.UnixMilli(q.ReceivedAt).UTC(), q.Subject,
			q.Reason, q.Pointer, q.Detail, printable(q.Body), q.State,
		}
	}
	next := ""
	if more != nil {
		next = a.Cursors.Encode(scope, "quarantine", placesText(more))
	}
	return writeJSON(w, struct {
		Quarantine []quarantineView `json:"quarantine"`
		NextCursor string           `json:"next_cursor,omitempty"`
	}{views, next})
}

// replayAnswer says what became of a replayed event at the door.
type replayAnswer struct {
	ID     string `json:"id"`
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Events int    `json:"events"`
}

// replay is POST /v1/quarantine/{id}/replay. A body replaces what is stored.
func (a *API) replay(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	seq, idx, err := parsePlace("id", r.PathValue("id"))
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	row, ok, err := stages.quarantined(r.Context(), tenant, ingest.Place{Seq: seq, Idx: idx})
	if err != nil {
		return err
	}
	if !ok || row.Tenant == "" {
		return httpapi.NotFound()
	}
	body, err := readAll(w, r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		body = row.Body
	}
	decoded, err := ingest.DecodeDirect(body)
	if err != nil {
		return err
	}
	events := make([]schemas.Event, len(decoded))
	for i := range decoded {
		if decoded[i].Err != nil {
			return decoded[i].Err
		}
		// However old it is by now; but the future stays closed.
		if err := decoded[i].Event.ValidateTime(time.Now(), 0); err != nil {
			return err
		}
		events[i] = decoded[i].Event
	}
	at, err := a.Submit(r.Context(), row.Tenant, events)
	if err != nil {
		return err
	}
	if err := stages.of(row.Tenant).Tables.Replayed(r.Context(), row); err != nil {
		return err
	}
	return writeJSON(w, replayAnswer{placeText(seq, idx), schemas.StreamUsage, at, len(events)})
}

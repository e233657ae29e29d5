package stripe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	stripego "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// EventBytesMax bounds an event; an invoice with its first lines has about 20 KiB.
const EventBytesMax = 256 << 10

// EventKinds are the events that the endpoint at Stripe should be given, and that Poll asks for.
func EventKinds() []string {
	return []string{
		"invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_failed", "invoice.voided",
		"invoice.marked_uncollectible", "invoice.deleted",
		"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted",
	}
}

// APIVersion is the version that the endpoint at Stripe must be pinned to: events of
// another one have another shape.
const APIVersion = stripego.APIVersion

// EventState is what became of an event.
type EventState string

// The states of an Event.
const (
	EventNew     EventState = "new"     // to be handed on; it is tried again and again
	EventHandled EventState = "handled" // its reaction has succeeded
	// EventOdd is of another API version or shape: it is kept whole and handed to nobody.
	EventOdd EventState = "odd"
)

// Event is something that happened at Stripe, as it was told and what became of it. It
// is a hint and may be old: read the object again before acting on it.
type Event struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind"` // such as invoice.payment_failed
	Created  time.Time       `json:"created"`
	Object   string          `json:"object"` // Stripe's id of what it is about
	Customer string          `json:"customer,omitempty"`
	Version  string          `json:"version"`
	Raw      json.RawMessage `json:"raw"`

	State    EventState `json:"state"`
	Received time.Time  `json:"received"`
	Polled   bool       `json:"polled,omitempty"` // fetched, because it was never delivered
	Attempts int        `json:"attempts,omitempty"`
	Error    string     `json:"error,omitempty"`
	Handled  time.Time  `json:"handled,omitzero"`

	revision uint64
}

// InboxConfig is what an Inbox needs to know.
type InboxConfig struct {
	// Secrets of the endpoint (whsec_…); two while one is being rolled.
	Secrets []Secret
	// Tolerance is how far the time of a signature may be from ours, both ways. Default 5
	// minutes. A signature that is older may be a recording of somebody's.
	Tolerance time.Duration
	Now       func() time.Time
	Log       zerolog.Logger
}

// Inbox keeps Stripe's events until each was reacted to. It is safe for use by several
// goroutines.
type Inbox struct {
	cfg    InboxConfig
	mode   Mode
	client *client
	store  Store
	lease  Lease
}

// NewInbox returns the inbox of a pusher's account and mode. Its store is not the pusher's.
func NewInbox(cfg InboxConfig, p *Pusher, store Store) *Inbox {
	if cfg.Tolerance <= 0 {
		cfg.Tolerance = webhook.DefaultTolerance
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Inbox{cfg: cfg, mode: p.mode, client: p.client, store: store, lease: p.lease}
}

// wireEvent is what every event has, of any version; a thin event's created is a string.
type wireEvent struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	APIVersion string          `json:"api_version"`
	Created    json.RawMessage `json:"created"`
	Livemode   *bool           `json:"livemode"`
	Type       string          `json:"type"`
	Data       struct {
		Object struct {
			ID       string          `json:"id"`
			Customer json.RawMessage `json:"customer"`
		} `json:"object"`
	} `json:"data"`
}

var eventID = regexp.MustCompile(`^evt_[A-Za-z0-9_]{1,100}$`)

// Take stores an event that was delivered with its Stripe-Signature. One that is known
// already is no error. Answer 2xx when it returns nil, and nothing else: Stripe delivers
// again what was answered with an error.
//
// Errors: schemas.ErrInvalid for what is not signed by Stripe for this endpoint now (400),
// schemas.ErrUnavailable if it could not be stored (503).
func (i *Inbox) Take(ctx context.Context, payload []byte, signature string) error {
	if len(payload) > EventBytesMax {
		return schemas.Invalid("", schemas.CodeTooLong, "an event has at most %d bytes", EventBytesMax)
	}
	if err := i.signed(payload, signature); err != nil {
		i.cfg.Log.Warn().Err(err).Msg("an event that is not signed by Stripe was refused")
		return err
	}
	e, err := i.parse(payload)
	if err != nil {
		return err
	}
	_, err = i.put(ctx, e)
	return err
}

// signed checks the signature against each secret, and its time both ways: Stripe's own
// client looks at the past only.
func (i *Inbox) signed(payload []byte, signature string) error {
	now := i.cfg.Now()
	for part := range strings.SplitSeq(signature, ",") {
		text, ok := strings.CutPrefix(part, "t=")
		if !ok {
			continue
		}
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return schemas.Invalid("/stripe-signature", schemas.CodeMalformed, "the signature's time is no number")
		}
		if d := now.Sub(time.Unix(at, 0)); d > i.cfg.Tolerance || d < -i.cfg.Tolerance {
			code := schemas.CodeTooLate
			if d < 0 {
				code = schemas.CodeTooEarly
			}
			return schemas.Invalid("/stripe-signature", code, "the signature is %s away from now, more than %s; is a clock wrong?", d.Round(time.Second).Abs(), i.cfg.Tolerance)
		}
	}
	for _, secret := range i.cfg.Secrets {
		if webhook.ValidatePayloadIgnoringTolerance(payload, signature, string(secret)) == nil {
			return nil
		}
	}
	return schemas.Invalid("/stripe-signature", schemas.CodeNotAllowed, "the signature is of none of the %d secrets of this endpoint", len(i.cfg.Secrets))
}

// parse reads an event. What is signed and cannot be understood is kept as odd.
func (i *Inbox) parse(raw []byte) (Event, error) {
	var w wireEvent
	if err := json.Unmarshal(raw, &w); err != nil || !eventID.MatchString(w.ID) {
		return Event{}, schemas.Invalid("", schemas.CodeMalformed, "this is not an event of Stripe's")
	}
	if w.Livemode != nil && *w.Livemode != (i.mode == Live) {
		return Event{}, schemas.Invalid("/livemode", schemas.CodeNotAllowed, "the event is not of %s mode, which this endpoint is for", i.mode)
	}
	e := Event{
		ID: w.ID, Kind: w.Type, Object: w.Data.Object.ID, Version: w.APIVersion, Raw: slices.Clone(raw),
		State: EventNew, Received: i.cfg.Now().UTC(), Customer: idOf(w.Data.Object.Customer),
	}
	seconds, err := strconv.ParseInt(string(w.Created), 10, 64)
	if err == nil {
		e.Created = time.Unix(seconds, 0).UTC()
	}
	if err != nil || w.Object != "event" || w.APIVersion != APIVersion || e.Object == "" {
		e.State = EventOdd
		e.Error = fmt.Sprintf("an event of version %q and shape %q; pin the endpoint at Stripe to %s", w.APIVersion, w.Object, APIVersion)
		i.cfg.Log.Error().Str("event", e.ID).Str("kind", e.Kind).Str("version", e.Version).Msg("an event of another API version is kept and not acted on")
	}
	return e, nil
}

// idOf reads a reference, which is an id or the object itself.
func idOf(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id
	}
	var object struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &object) == nil {
		return object.ID
	}
	return ""
}

func (i *Inbox) name(id string) string { return string(i.mode) + "." + id }

// put stores an event that is not there. It reports whether it was new.
func (i *Inbox) put(ctx context.Context, e Event) (bool, error) {
	value, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("store event %s: encode: %w", e.ID, err)
	}
	_, err = i.store.Create(ctx, i.name(e.ID), value)
	if errors.Is(err, schemas.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store event %s: %w", e.ID, err)
	}
	return true, nil
}

// Get returns an event, or eventlog.ErrNotFound.
func (i *Inbox) Get(ctx context.Context, id string) (Event, error) {
	stored, err := i.store.Get(ctx, i.name(id))
	if err != nil {
		return Event{}, fmt.Errorf("get event %s: %w", id, err)
	}
	var e Event
	if err := json.Unmarshal(stored.Value, &e); err != nil {
		return Event{}, fmt.Errorf("get event %s: decode: %w", id, err)
	}
	e.revision = stored.Revision
	return e, nil
}

// List returns the events in a state, or all for "", the oldest first.
func (i *Inbox) List(ctx context.Context, state EventState) ([]Event, error) {
	names, err := i.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	var list []Event
	for _, name := range names {
		id, ok := strings.CutPrefix(name, string(i.mode)+".evt_")
		if !ok {
			continue
		}
		e, err := i.Get(ctx, "evt_"+id)
		if errors.Is(err, eventlog.ErrNotFound) {
			continue // its time was over
		}
		if err != nil {
			return nil, err
		}
		if state == "" || e.State == state {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Event) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// update stores what became of an event.
func (i *Inbox) update(ctx context.Context, e Event) error {
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("update event %s: encode: %w", e.ID, err)
	}
	if _, err := i.store.Update(ctx, i.name(e.ID), value, e.revision); err != nil {
		return fmt.Errorf("update event %s: %w", e.ID, err)
	}
	return nil
}

// Work hands every new event to the reaction, the oldest first, and returns how many
// succeeded. A reaction that fails is tried again by the next call, and the events after
// it are not held up. A process that dies between a reaction and its note does it again:
// reactions must be idempotent.
func (i *Inbox) Work(ctx context.Context, react func(context.Context, Event) error) (int, error) {
	held, release, err := i.lease.Hold(ctx, "stripe-inbox-"+string(i.mode))
	if err != nil {
		return 0, fmt.Errorf("work on events: %w", err)
	}
	defer release()
	list, err := i.List(held, EventNew)
	if err != nil {
		return 0, err
	}
	handled := 0
	for _, e := range list {
		e.Attempts++
		if err := react(held, e); err != nil {
			e.Error = err.Error()
			i.cfg.Log.Warn().Str("event", e.ID).Str("kind", e.Kind).Int("attempts", e.Attempts).Err(err).Msg("an event could not be reacted to")
		} else {
			e.State, e.Error, e.Handled = EventHandled, "", i.cfg.Now().UTC()
			handled++
		}
		if err := i.update(held, e); err != nil {
			return handled, err
		}
	}
	return handled, nil
}

// Replay makes an event new again, so that the next Work hands it on.
func (i *Inbox) Replay(ctx context.Context, id string) error {
	e, err := i.Get(ctx, id)
	if err != nil {
		return err
	}
	if e.State == EventOdd {
		return schemas.Invalid("/event", schemas.CodeUnsupported, "event %s is of another version (%s) and cannot be acted on", id, e.Version)
	}
	e.State, e.Error, e.Handled = EventNew, "", time.Time{}
	return i.update(ctx, e)
}

// Events are listed at Stripe for 30 days (docs.stripe.com/api/events). pollOverlap is
// read again each time: an event may be listed a little after its time.
const (
	pollReach   = 30*24*time.Hour - time.Hour
	pollOverlap = time.Hour
)

// Poll fetches what happened since the last poll and was never delivered, so that a lost
// webhook costs time only. It returns how many events were new.
func (i *Inbox) Poll(ctx context.Context) (int, error) {
	since := i.cfg.Now().Add(-pollReach)
	mark, err := i.store.Get(ctx, i.name("polled"))
	switch {
	case err == nil:
		var at time.Time
		if err := at.UnmarshalText(mark.Value); err != nil {
			return 0, fmt.Errorf("poll events: read where the last poll ended: %w", err)
		}
		since = laterOf(since, at.Add(-pollOverlap))
	case !errors.Is(err, eventlog.ErrNotFound):
		return 0, fmt.Errorf("poll events: %w", err)
	}
	list, err := i.client.events(ctx, since, EventKinds())
	if err != nil {
		return 0, fmt.Errorf("poll events: %w", err)
	}
	fresh, newest := 0, since
	for _, raw := range slices.Backward(list) {
		e, err := i.parse(raw)
		if err != nil {
			return fresh, fmt.Errorf("poll events: %w", err)
		}
		e.Polled = true
		added, err := i.put(ctx, e)
		if err != nil {
			return fresh, fmt.Errorf("poll events: %w", err)
		}
		if added {
			fresh++
		}
		newest = laterOf(newest, e.Created)
	}
	text, err := newest.UTC().MarshalText()
	if err != nil {
		return fresh, fmt.Errorf("poll events: %w", err)
	}
	// Of two polls at once one loses this write; both have stored what they saw.
	if _, err := i.store.Update(ctx, i.name("polled"), text, mark.Revision); err != nil && !errors.Is(err, schemas.ErrConflict) {
		return fresh, fmt.Errorf("poll events: %w", err)
	}
	return fresh, nil
}

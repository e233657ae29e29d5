package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/schemas"
)

// Event is one thing that happened: as a rule, one call of a model. The zero
// value of a field means that it is not known and is not sent.
type Event struct {
	// ID identifies the event within its source for ever. "" takes a new UUIDv7.
	// Give your own if the same call may be recorded twice.
	ID string
	// Source names the producer, as a URI reference. "" takes Config.Source.
	Source string
	// Type is llm.call if empty.
	Type schemas.EventType
	// Time is when it happened; the zero time takes the moment of Record.
	Time time.Time

	Provider   string
	Model      string
	Department string
	CostCenter string
	Agent      string
	User       string
	Session    string
	Run        string
	ParentRun  string

	// Status is ok if empty; see schemas.StatusOK and its neighbours.
	Status string
	// Error says what went wrong with the call.
	Error string
	// Latency is how long the call took, in whole milliseconds on the wire.
	Latency time.Duration
	// Completeness is reported if empty; see schemas.CompletenessReported.
	Completeness string
	// ServiceTier is the provider's price class of the call.
	ServiceTier string

	// Tokens are the disjoint buckets of the call. Leave them zero and set Usage to
	// let the server take the provider's own report apart.
	Tokens schemas.Tokens
	// TotalTokens is the total as the provider reported it, 0 if it did not. The
	// server flags an event whose buckets do not add up to it.
	TotalTokens int64
	// Usage is the provider's usage object as it came, a JSON object.
	Usage json.RawMessage
	// Units are counted things that are not tokens, such as web_search.
	Units map[string]int64
	// Tags are free labels, at most schemas.TagsMax.
	Tags map[string]string
	// Levels are what a resource.sample measured: agents, concurrent_sessions,
	// storage_gb.
	Levels map[string]json.Number

	// Corrects and Amount belong to void and adjustment events.
	Corrects schemas.EventRef
	Amount   *schemas.Money
}

// wireEvent is the CloudEvents JSON form. The order of fields and of map keys is
// fixed, so an event has one encoding.
type wireEvent struct {
	SpecVersion string            `json:"specversion"`
	ID          string            `json:"id"`
	Source      string            `json:"source"`
	Type        schemas.EventType `json:"type"`
	Time        string            `json:"time"`
	Data        wireData          `json:"data"`
}

type wireData struct {
	Provider     string                 `json:"provider,omitempty"`
	Model        string                 `json:"model,omitempty"`
	Department   string                 `json:"department,omitempty"`
	CostCenter   string                 `json:"cost_center,omitempty"`
	Agent        string                 `json:"agent,omitempty"`
	User         string                 `json:"user,omitempty"`
	Session      string                 `json:"session,omitempty"`
	Run          string                 `json:"run,omitempty"`
	ParentRun    string                 `json:"parent_run,omitempty"`
	Status       string                 `json:"status,omitempty"`
	Error        string                 `json:"error,omitempty"`
	LatencyMS    int64                  `json:"latency_ms,omitempty"`
	Completeness string                 `json:"completeness,omitempty"`
	ServiceTier  string                 `json:"service_tier,omitempty"`
	Tokens       map[string]int64       `json:"tokens,omitempty"`
	TotalTokens  int64                  `json:"total_tokens,omitempty"`
	Usage        json.RawMessage        `json:"usage,omitempty"`
	Units        map[string]int64       `json:"units,omitempty"`
	Tags         map[string]string      `json:"tags,omitempty"`
	Levels       map[string]json.Number `json:"levels,omitempty"`
	Corrects     *wireRef               `json:"corrects,omitempty"`
	Amount       *schemas.Money         `json:"amount,omitempty"`
}

type wireRef struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// timeLayout is RFC 3339 with milliseconds, which is what is kept.
const timeLayout = "2006-01-02T15:04:05.000Z"

// encode fills in what the event lacks, checks it and returns its JSON. The error
// is a *schemas.FieldError.
func (e Event) encode(defaultSource string, now time.Time) ([]byte, error) {
	if e.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make event id: %w", err)
		}
		e.ID = id.String()
	}
	if e.Source == "" {
		e.Source = defaultSource
	}
	if e.Type == "" {
		e.Type = schemas.TypeLLMCall
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(e.wire())
	if err != nil {
		return nil, schemas.Invalid("/data", schemas.CodeMalformed, "usage and levels must hold JSON: %s", err)
	}
	if len(data) > schemas.EventBytesMax {
		return nil, schemas.Invalid("", schemas.CodeTooLong,
			"the event is %d bytes; at most %d", len(data), schemas.EventBytesMax)
	}
	return data, nil
}

// check finds what the server would reject, where the mistake was made.
func (e *Event) check() error {
	plain := schemas.Event{
		ID: e.ID, Source: e.Source, Type: e.Type, Time: e.Time.UnixMilli(),
		Provider: e.Provider, Model: e.Model, Department: e.Department, CostCenter: e.CostCenter, Agent: e.Agent,
		User: e.User, Session: e.Session, Run: e.Run, ParentRun: e.ParentRun,
		Status: e.Status, Error: e.Error, LatencyMS: e.Latency.Milliseconds(), Completeness: e.Completeness,
		ServiceTier: e.ServiceTier, Tokens: e.Tokens, Corrects: e.Corrects,
	}
	for _, name := range slices.Sorted(maps.Keys(e.Units)) {
		plain.Units = append(plain.Units, schemas.Unit{Name: name, Count: e.Units[name]})
	}
	for _, key := range slices.Sorted(maps.Keys(e.Tags)) {
		plain.Tags = append(plain.Tags, schemas.Tag{Key: key, Value: e.Tags[key]})
	}
	if e.Amount != nil {
		plain.Amount, plain.HasAmount = *e.Amount, true
	}
	return plain.Validate()
}

func (e *Event) wire() wireEvent {
	w := wireEvent{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Time: e.Time.UTC().Format(timeLayout),
		Data: wireData{
			Provider: e.Provider, Model: e.Model, Department: e.Department, CostCenter: e.CostCenter, Agent: e.Agent,
			User: e.User, Session: e.Session, Run: e.Run, ParentRun: e.ParentRun,
			Status: e.Status, Error: e.Error, LatencyMS: e.Latency.Milliseconds(), Completeness: e.Completeness,
			ServiceTier: e.ServiceTier, TotalTokens: e.TotalTokens, Usage: e.Usage, Units: e.Units, Tags: e.Tags,
			Levels: e.Levels, Amount: e.Amount,
		},
	}
	for i, n := range e.Tokens {
		if n != 0 {
			if w.Data.Tokens == nil {
				w.Data.Tokens = make(map[string]int64, schemas.BucketCount)
			}
			w.Data.Tokens[schemas.Bucket(i).String()] = n
		}
	}
	if e.Corrects != (schemas.EventRef{}) {
		w.Data.Corrects = &wireRef{e.Corrects.Source, e.Corrects.ID}
	}
	return w
}

// idOf reads the id of an encoded event, for reports about it.
func idOf(event []byte) string {
	var head struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(event, &head) != nil {
		return ""
	}
	return head.ID
}

var (
	// ErrSpoolFull: the spool, or the queue in memory, holds as much as it may.
	// The event was not taken.
	ErrSpoolFull = errors.New("spool is full")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("client is closed")
	// ErrPending: not everything was confirmed when the wait ended.
	ErrPending = errors.New("events are not confirmed yet")
	// ErrSpoolInUse: another process sends from this spool directory.
	ErrSpoolInUse = errors.New("spool directory is in use by another process")
	// ErrSpoolDamaged: a part of the spool cannot be read.
	ErrSpoolDamaged = errors.New("spool is damaged")
)

// RejectedError is an event that the server will never take. OnError gets it.
type RejectedError struct {
	ID string
	// Event is the event as it was sent.
	Event json.RawMessage
	// Verdict is rejected or conflict: another event with this id stands.
	Verdict string
	// Code, Pointer and Detail say why; see schemas.FieldError.
	Code, Pointer, Detail string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("event %s %s: %s %s: %s", e.ID, e.Verdict, e.Code, e.Pointer, e.Detail)
}

// RefusedError is an answer that says nothing about the events: the key, the
// address or the configuration is wrong. The events stay in the spool.
type RefusedError struct {
	Status int
	// Code and Detail are the server's, "" if it was not Panda that answered.
	Code, Detail string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server refuses this client: status %d %s: %s", e.Status, e.Code, e.Detail)
}

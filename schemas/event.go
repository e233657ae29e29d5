package schemas

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one event. Each is checked where the event enters and named in the
// error. They keep every later sum exact and every later buffer bounded.
const (
	// RequestBytesMax bounds a request body after decompression: 1 MiB, which is
	// also the largest message a default NATS server takes.
	RequestBytesMax = 1 << 20
	// BatchEventsMax bounds the events of one request or one NATS message.
	BatchEventsMax = 1000
	// EventBytesMax bounds one event's JSON: 64 KiB is a hundred times a usual
	// event, and small enough that no event can crowd out its batch.
	EventBytesMax = 64 << 10
	// TokensPerBucketMax bounds one bucket of one event: 1e12 tokens. Nine
	// million such events still sum exactly in 64 bits.
	TokensPerBucketMax = 1_000_000_000_000
	// LatencyMax bounds how long a call may have taken.
	LatencyMax = 30 * 24 * time.Hour
	// FutureMax is how far ahead of the receiver's clock an event may lie, so
	// that a wrong clock cannot fill windows that have not begun.
	FutureMax = 5 * time.Minute
	// PastMax is how old an event may be at the regular doors. The import door
	// lifts it.
	PastMax = 400 * 24 * time.Hour

	IDBytesMax     = 256  // id and source
	NameBytesMax   = 256  // provider, model, agent and the other names
	ErrorBytesMax  = 1024 // error text
	TagsMax        = 16   // free tags of one event
	TagKeyMax      = 64   // bytes of a tag's key
	TagValueMax    = 256  // bytes of a tag's value
	UnitsMax       = 16   // kinds of counted units on one event
	UnitNameMax    = 64   // bytes of a unit's name
	eventMillisMin = 0    // 1970-01-01: nothing was metered before
	// eventMillisMax is 2100-01-01. DateTime in ClickHouse ends in 2106.
	eventMillisMax = 4_102_444_800_000
)

// An EventType says what happened.
type EventType string

// The event types.
const (
	// TypeLLMCall: a model was called; the usual event.
	TypeLLMCall EventType = "llm.call"
	// TypeToolCall: an agent used a tool; may carry units and no tokens.
	TypeToolCall EventType = "tool.call"
	// TypeMessage: a message passed through an agent.
	TypeMessage EventType = "message"
	// TypeResourceSample: levels at a moment (agents, storage, sessions). A
	// level replaces the one before it; it is never summed.
	TypeResourceSample EventType = "resource.sample"
	// TypeAdjustment: a signed correction of tokens or money, decided by people.
	TypeAdjustment EventType = "adjustment"
	// TypeVoid: takes one earlier event back, whole.
	TypeVoid EventType = "void"
)

// EventTypes lists the event types in the order of the documentation.
func EventTypes() []EventType {
	return []EventType{TypeLLMCall, TypeToolCall, TypeMessage, TypeResourceSample, TypeAdjustment, TypeVoid}
}

// Known reports whether t is one of the event types.
func (t EventType) Known() bool {
	switch t {
	case TypeLLMCall, TypeToolCall, TypeMessage, TypeResourceSample, TypeAdjustment, TypeVoid:
		return true
	}
	return false
}

// The outcomes of a call.
const (
	StatusOK        = "ok"
	StatusError     = "error"
	StatusCancelled = "cancelled"
)

// How sure the counts are.
const (
	// CompletenessReported: the provider reported the counts.
	CompletenessReported = "reported"
	// CompletenessEstimated: the runtime counted by itself.
	CompletenessEstimated = "estimated"
	// CompletenessPartial: the stream broke off; counts cover what arrived.
	CompletenessPartial = "partial"
)

// Levels of a resource.sample, as names of Units.
const (
	LevelAgents             = "agents"
	LevelConcurrentSessions = "concurrent_sessions"
	// LevelStorageBytes is written storage_gb on the wire, a decimal with up to
	// nine decimals; 1 GB is 1e9 bytes.
	LevelStorageBytes = "storage_bytes"
)

// FlagTotalMismatch marks an event whose buckets do not add up to the total
// that came with it. It is counted as its buckets say; nothing is guessed.
const FlagTotalMismatch = "total_mismatch"

// An Event is one usage event: a CloudEvent after decoding, before a verdict.
// Its tenant is not part of it: that is a matter of credentials.
//
// ID and Source identify it within its tenant. Everything else is its content.
type Event struct {
	ID     string
	Source string
	Type   EventType
	// Time is when it happened, in Unix milliseconds UTC. Finer digits are cut.
	Time int64

	Provider   string
	Model      string
	Department string
	CostCenter string
	Agent      string
	User       string
	Session    string
	Run        string
	ParentRun  string

	// Status is one of the Status constants; empty means ok.
	Status string
	// Error is the provider's or the runtime's word for what went wrong.
	Error string
	// LatencyMS is how long the call took, in milliseconds; 0 is unknown.
	LatencyMS int64
	// Completeness is one of the Completeness constants; empty means reported.
	Completeness string
	// ServiceTier is the provider's price class of the call: batch, flex,
	// priority; empty and "standard" and "default" are the list price.
	ServiceTier string

	Tokens Tokens
	// Units are counted things that are not tokens, sorted by name. On a
	// resource.sample they are levels.
	Units []Unit
	// Tags are free labels, sorted by key.
	Tags []Tag

	// Corrects names the event that a void or an adjustment corrects.
	Corrects EventRef
	// Amount is the money of an adjustment; an adjustment of tokens alone is
	// priced like a call.
	Amount    Money
	HasAmount bool

	// Flag is empty or names a doubt that came with the event, such as
	// FlagTotalMismatch. It is derived, so it is no part of the content.
	Flag string
}

// An EventRef names an event within its tenant.
type EventRef struct{ Source, ID string }

// A Unit is a count of something that is not a token.
type Unit struct {
	Name  string
	Count int64
}

// A Tag is a free label.
type Tag struct{ Key, Value string }

// Timestamp returns Time as a time.Time in UTC.
func (e *Event) Timestamp() time.Time { return time.UnixMilli(e.Time).UTC() }

// Validate checks everything about an event that does not depend on when it
// arrived. The error is a *FieldError whose pointer leads into the CloudEvent.
func (e *Event) Validate() error {
	if err := e.validateIdentity(); err != nil {
		return err
	}
	if err := e.validateNames(); err != nil {
		return err
	}
	if err := e.validateCounts(); err != nil {
		return err
	}
	return e.validateCorrection()
}

func (e *Event) validateIdentity() error {
	if e.ID == "" {
		return Invalid("/id", CodeMissing, "an event needs an id; make it before the first send and keep it on every retry")
	}
	if e.Source == "" {
		return Invalid("/source", CodeMissing, "an event needs a source, a URI that names its producer, such as \"/runtime/eu-1\"")
	}
	if err := checkText("/id", e.ID, IDBytesMax); err != nil {
		return err
	}
	if err := checkText("/source", e.Source, IDBytesMax); err != nil {
		return err
	}
	if !e.Type.Known() {
		return Invalid("/type", CodeUnknown, "%q is not an event type; use one of %s", clip(string(e.Type)), typeList())
	}
	if e.Time < eventMillisMin || e.Time >= eventMillisMax {
		return Invalid("/time", CodeOutOfRange, "the time must lie between 1970 and 2100")
	}
	return nil
}

func typeList() string {
	names := make([]string, 0, 6)
	for _, t := range EventTypes() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

func (e *Event) validateNames() error {
	for _, f := range [...]struct{ pointer, value string }{
		{"/data/provider", e.Provider}, {"/data/model", e.Model},
		{"/data/department", e.Department}, {"/data/cost_center", e.CostCenter},
		{"/data/agent", e.Agent}, {"/data/user", e.User}, {"/data/session", e.Session},
		{"/data/run", e.Run}, {"/data/parent_run", e.ParentRun},
		{"/data/service_tier", e.ServiceTier},
		{"/data/corrects/source", e.Corrects.Source}, {"/data/corrects/id", e.Corrects.ID},
	} {
		if f.value == "" {
			continue
		}
		if err := checkText(f.pointer, f.value, NameBytesMax); err != nil {
			return err
		}
	}
	if err := checkText("/data/error", e.Error, ErrorBytesMax); err != nil {
		return err
	}
	if e.Type == TypeLLMCall && e.Model == "" {
		return Invalid("/data/model", CodeMissing, "an %s event needs the model that was called", e.Type)
	}
	switch e.Status {
	case StatusOK, StatusError, StatusCancelled, "":
	default:
		return Invalid("/data/status", CodeUnknown, "%q is not a status; use ok, error or cancelled", clip(e.Status))
	}
	switch e.Completeness {
	case CompletenessReported, CompletenessEstimated, CompletenessPartial, "":
	default:
		return Invalid("/data/completeness", CodeUnknown,
			"%q is not a completeness; use reported, estimated or partial", clip(e.Completeness))
	}
	return e.validateTags()
}

func (e *Event) validateTags() error {
	if len(e.Tags) > TagsMax {
		return Invalid("/data/tags", CodeTooMany, "there are %d tags; send at most %d", len(e.Tags), TagsMax)
	}
	for i, t := range e.Tags {
		if t.Key == "" {
			return Invalid("/data/tags", CodeMissing, "a tag needs a key")
		}
		if err := checkText("/data/tags", t.Key, TagKeyMax); err != nil {
			return err
		}
		if err := checkMember("/data/tags/", t.Key, t.Value, TagValueMax); err != nil {
			return err
		}
		if i > 0 && e.Tags[i-1].Key == t.Key {
			return Invalid("/data/tags/"+escapePointer(t.Key), CodeRepeated, "the tag is there twice")
		}
	}
	return nil
}

func (e *Event) validateCounts() error {
	countMin := int64(0)
	if e.Type == TypeAdjustment {
		countMin = -TokensPerBucketMax
	}
	for i, n := range e.Tokens {
		if n < countMin || n > TokensPerBucketMax {
			return Invalid("/data/tokens/"+bucketNames[i], CodeOutOfRange,
				"%d is outside %d to %d tokens", n, countMin, int64(TokensPerBucketMax))
		}
	}
	sample := e.Type == TypeResourceSample
	if sample {
		if err := e.validateLevels(); err != nil {
			return err
		}
	}
	if len(e.Units) > UnitsMax {
		return Invalid("/data/units", CodeTooMany, "there are %d kinds of units; send at most %d", len(e.Units), UnitsMax)
	}
	for i, u := range e.Units {
		if u.Name == "" {
			return Invalid("/data/units", CodeMissing, "a unit needs a name, such as web_search")
		}
		if err := checkMember("/data/units/", u.Name, u.Name, UnitNameMax); err != nil {
			return err
		}
		if !sample && (u.Count < countMin || u.Count > TokensPerBucketMax) {
			return Invalid("/data/units/"+escapePointer(u.Name), CodeOutOfRange, "%d is outside %d to %d", u.Count, countMin, int64(TokensPerBucketMax))
		}
		if i > 0 && e.Units[i-1].Name == u.Name {
			return Invalid("/data/units/"+escapePointer(u.Name), CodeRepeated, "the unit is there twice")
		}
	}
	if e.LatencyMS < 0 || e.LatencyMS > LatencyMax.Milliseconds() {
		return Invalid("/data/latency_ms", CodeOutOfRange, "%d ms is outside 0 to %d", e.LatencyMS, LatencyMax.Milliseconds())
	}
	return nil
}

// validateLevels refuses usage on a sample: levels cost nothing by themselves,
// so tokens or counted units would pass without a price.
func (e *Event) validateLevels() error {
	if e.Tokens != (Tokens{}) {
		return Invalid("/data/tokens", CodeNotAllowed, "a %s has levels and no tokens; send the usage as an event of its own", e.Type)
	}
	for _, u := range e.Units {
		switch u.Name {
		case LevelAgents, LevelConcurrentSessions, LevelStorageBytes:
		default:
			return Invalid("/data/levels/"+escapePointer(u.Name), CodeUnknown,
				"%q is not a level; use agents, concurrent_sessions or storage_gb", clip(u.Name))
		}
		if limit := levelMax(u.Name); u.Count < 0 || u.Count > limit {
			name := strings.Replace(u.Name, LevelStorageBytes, "storage_gb", 1)
			return Invalid("/data/levels/"+name, CodeOutOfRange, "a level of %d is outside 0 to %d", u.Count, limit)
		}
	}
	return nil
}

// levelMax bounds a level. Storage counts bytes, so it may exceed what a bucket
// of tokens may hold.
func levelMax(name string) int64 {
	const storageBytesMax = 1_000_000_000_000_000_000 // 1e18 bytes, an exabyte
	if name == LevelStorageBytes {
		return storageBytesMax
	}
	return TokensPerBucketMax
}

// adjustmentMax bounds the money of one adjustment: 9 million USD, what 64 bits
// of pico-USD hold.
const adjustmentMax = 9_000_000

func (e *Event) validateCorrection() error {
	hasRef := e.Corrects != EventRef{}
	switch e.Type {
	case TypeVoid:
		if e.Corrects.ID == "" || e.Corrects.Source == "" {
			return Invalid("/data/corrects", CodeMissing, "a void needs corrects.source and corrects.id of the event it takes back")
		}
		if e.Tokens != (Tokens{}) || e.HasAmount || len(e.Units) > 0 {
			return Invalid("/data", CodeNotAllowed, "a void takes an event back whole; it has no tokens, units or amount of its own")
		}
	case TypeAdjustment:
		if hasRef && (e.Corrects.ID == "" || e.Corrects.Source == "") {
			return Invalid("/data/corrects", CodeMissing, "corrects needs both source and id")
		}
		if !e.HasAmount && e.Tokens == (Tokens{}) && len(e.Units) == 0 {
			return Invalid("/data", CodeMissing, "an adjustment needs an amount, tokens or units")
		}
		limit := Mul(PicoPerUSD, adjustmentMax)
		if e.Amount.Cmp(limit) > 0 || e.Amount.Cmp(limit.Neg()) < 0 {
			return Invalid("/data/amount", CodeOutOfRange, "an adjustment moves at most %d USD", adjustmentMax)
		}
	default:
		if hasRef || e.HasAmount {
			return Invalid("/data", CodeNotAllowed, "corrects and amount belong to void and adjustment events only")
		}
	}
	return nil
}

// ValidateTime checks the time of an event against the moment it was received.
// pastMax is PastMax at the regular doors; 0 lifts the limit, as the import
// door does.
func (e *Event) ValidateTime(received time.Time, pastMax time.Duration) error {
	at := e.Timestamp()
	if at.After(received.Add(FutureMax)) {
		return Invalid("/time", CodeTooEarly, "%s is more than %s ahead of the receiver's clock (%s); check the producer's clock",
			at.Format(time.RFC3339), FutureMax, received.UTC().Format(time.RFC3339))
	}
	if pastMax > 0 && at.Before(received.Add(-pastMax)) {
		return Invalid("/time", CodeTooLate, "%s is more than %d days old; use the import door for history",
			at.Format(time.RFC3339), int(pastMax/(24*time.Hour)))
	}
	return nil
}

// checkText refuses text that is too long, not UTF-8, or holds control
// characters, which would break tables, logs and CSV.
func checkText(pointer, s string, bytesMax int) error {
	if len(s) > bytesMax {
		return Invalid(pointer, CodeTooLong, "this has %d bytes; at most %d are taken", len(s), bytesMax)
	}
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c == 0x7f {
			return Invalid(pointer, CodeMalformed, "this holds the control character 0x%02x; leave it out", c)
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return Invalid(pointer, CodeMalformed, "this is not UTF-8; encode it as UTF-8")
	}
	return nil
}

// checkMember is checkText for a member of an object. Its pointer is made only
// for an error: on the hot path it would cost more than the check.
func checkMember(parent, key, s string, bytesMax int) error {
	err := checkText("", s, bytesMax)
	if field := (*FieldError)(nil); errors.As(err, &field) {
		field.Pointer = parent + escapePointer(key)
	}
	return err
}

// escapePointer escapes a JSON pointer token (RFC 6901).
func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/agentik-os/panda/schemas"
)

// An envelope is one message of the log: the events of one request, validated
// by a gateway, in a compact binary form. It is the unit of group commit: one
// fsync for all its events.
//
// Layout: magic "PE", version, flags, count; per event a bitmap of the fields
// that are set and then those fields; at the end 16 bytes of HMAC-SHA256 over
// the tenant and all before it. Numbers are varints. A string is either a
// reference to one seen earlier in the envelope or new; ids are always new. The
// encoding of given events is always the same, so a retry of the same batch is
// the same bytes.
//
// The tenant is not inside: it is the subject's, and the HMAC binds it.

// EnvelopeFlags are properties of all events of an envelope.
type EnvelopeFlags byte

// FlagImport marks events that came through the import door, where the limit on
// age is lifted.
const FlagImport EnvelopeFlags = 1

const (
	envelopeMagic   = "PE"
	envelopeVersion = 1
	envelopeMACSize = 16
	// envelopeOverhead is the least an envelope holds: magic, version, flags,
	// count and MAC.
	envelopeOverhead = len(envelopeMagic) + 3 + envelopeMACSize
)

// ErrForged says that an envelope's HMAC does not fit its bytes, its subject's
// tenant and this deployment's key.
var ErrForged = errors.New("the envelope's signature does not fit")

// The bits of an event's bitmap.
const (
	hasProvider = 1 << iota
	hasModel
	hasDepartment
	hasCostCenter
	hasAgent
	hasUser
	hasSession
	hasRun
	hasParentRun
	hasStatus
	hasError
	hasLatency
	hasCompleteness
	hasServiceTier
	hasTokens
	hasUnits
	hasTags
	hasCorrects
	hasAmount
	hasFlag
)

// envelopeTypes are the event types by their number on the log. Append only.
var envelopeTypes = [...]schemas.EventType{
	schemas.TypeLLMCall, schemas.TypeToolCall, schemas.TypeMessage,
	schemas.TypeResourceSample, schemas.TypeAdjustment, schemas.TypeVoid,
}

// EncodeEnvelope appends the envelope of a tenant's events to dst. key is the
// deployment's signing key; every gateway and writer of a deployment has the
// same one. The events must be valid; see schemas.Event.Validate.
func EncodeEnvelope(dst []byte, tenant string, events []schemas.Event, flags EnvelopeFlags, key []byte) []byte {
	start := len(dst)
	enc := encoders.Get().(*encoder)
	enc.b = append(dst, envelopeMagic...)
	enc.b = append(enc.b, envelopeVersion, byte(flags))
	enc.b = binary.AppendUvarint(enc.b, uint64(len(events)))
	for i := range events {
		enc.event(&events[i])
	}
	dst = enc.b
	enc.b, enc.time = nil, 0
	clear(enc.seen)
	encoders.Put(enc)
	mac := envelopeMAC(tenant, dst[start:], key)
	return append(dst, mac[:]...)
}

// EnvelopeID returns the id the broker recognises a retry of the same envelope
// by. It covers content, so an envelope with other content is never dropped.
func EnvelopeID(envelope []byte) string {
	sum := sha256.Sum256(envelope)
	return hex.EncodeToString(sum[:16])
}

func envelopeMAC(tenant string, body, key []byte) (mac [envelopeMACSize]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(appendText(nil, tenant))
	h.Write(body)
	copy(mac[:], h.Sum(nil))
	return mac
}

var encoders = sync.Pool{New: func() any { return &encoder{seen: map[string]uint64{}} }}

// encoder writes one envelope. seen numbers the strings already in it, from 1.
type encoder struct {
	b    []byte
	seen map[string]uint64
	time int64
}

func (enc *encoder) event(e *schemas.Event) {
	for i, t := range envelopeTypes {
		if t == e.Type {
			enc.b = append(enc.b, byte(i))
		}
	}
	enc.b = appendText(enc.b, e.ID)
	enc.text(e.Source)
	enc.b = binary.AppendVarint(enc.b, e.Time-enc.time)
	enc.time = e.Time
	bits := fieldsOf(e)
	enc.b = binary.AppendUvarint(enc.b, bits)
	for _, f := range names(e) {
		if bits&f.bit != 0 {
			enc.text(*f.value)
		}
	}
	if bits&hasLatency != 0 {
		enc.b = binary.AppendVarint(enc.b, e.LatencyMS)
	}
	if bits&hasTokens != 0 {
		enc.tokens(&e.Tokens)
	}
	if bits&hasUnits != 0 {
		enc.b = binary.AppendUvarint(enc.b, uint64(len(e.Units)))
		for _, u := range e.Units {
			enc.text(u.Name)
			enc.b = binary.AppendVarint(enc.b, u.Count)
		}
	}
	if bits&hasTags != 0 {
		enc.b = binary.AppendUvarint(enc.b, uint64(len(e.Tags)))
		for _, t := range e.Tags {
			enc.text(t.Key)
			enc.text(t.Value)
		}
	}
	if bits&hasCorrects != 0 {
		enc.text(e.Corrects.Source)
		enc.b = appendText(enc.b, e.Corrects.ID)
	}
	if bits&hasAmount != 0 {
		hi, lo := e.Amount.Words()
		enc.b = binary.BigEndian.AppendUint64(enc.b, uint64(hi))
		enc.b = binary.BigEndian.AppendUint64(enc.b, lo)
	}
}

func (enc *encoder) tokens(t *schemas.Tokens) {
	var bits uint64
	for i, n := range t {
		if n != 0 {
			bits |= 1 << i
		}
	}
	enc.b = binary.AppendUvarint(enc.b, bits)
	for _, n := range t {
		if n != 0 {
			enc.b = binary.AppendVarint(enc.b, n)
		}
	}
}

// text writes a string: 0 and the string when it is new, else its number.
func (enc *encoder) text(s string) {
	if n, ok := enc.seen[s]; ok {
		enc.b = binary.AppendUvarint(enc.b, n)
		return
	}
	enc.seen[s] = uint64(len(enc.seen) + 1)
	enc.b = append(enc.b, 0)
	enc.b = appendText(enc.b, s)
}

// A name is a text field of an event with its bit.
type name struct {
	bit   uint64
	value *string
}

// names lists the text fields in the order they are written.
func names(e *schemas.Event) [14]name {
	return [...]name{
		{hasProvider, &e.Provider}, {hasModel, &e.Model}, {hasDepartment, &e.Department},
		{hasCostCenter, &e.CostCenter}, {hasAgent, &e.Agent}, {hasUser, &e.User},
		{hasSession, &e.Session}, {hasRun, &e.Run}, {hasParentRun, &e.ParentRun},
		{hasStatus, &e.Status}, {hasError, &e.Error}, {hasCompleteness, &e.Completeness},
		{hasServiceTier, &e.ServiceTier}, {hasFlag, &e.Flag},
	}
}

func fieldsOf(e *schemas.Event) (bits uint64) {
	for _, f := range names(e) {
		if *f.value != "" {
			bits |= f.bit
		}
	}
	for _, f := range [...]struct {
		bit uint64
		set bool
	}{
		{hasLatency, e.LatencyMS != 0}, {hasTokens, e.Tokens != schemas.Tokens{}},
		{hasUnits, len(e.Units) > 0}, {hasTags, len(e.Tags) > 0},
		{hasCorrects, e.Corrects != schemas.EventRef{}}, {hasAmount, e.HasAmount},
	} {
		if f.set {
			bits |= f.bit
		}
	}
	return bits
}

// DecodeEnvelope reads an envelope of the tenant. The error is ErrForged when
// the signature does not fit, else it matches schemas.ErrInvalid.
func DecodeEnvelope(data []byte, tenant string, key []byte) ([]schemas.Event, EnvelopeFlags, error) {
	if len(data) < envelopeOverhead || string(data[:2]) != envelopeMagic {
		return nil, 0, fmt.Errorf("decode envelope: not an envelope: %w", schemas.ErrInvalid)
	}
	body := data[:len(data)-envelopeMACSize]
	mac := envelopeMAC(tenant, body, key)
	if !hmac.Equal(mac[:], data[len(body):]) {
		return nil, 0, fmt.Errorf("decode envelope: %w", ErrForged)
	}
	if body[2] != envelopeVersion {
		return nil, 0, fmt.Errorf("decode envelope: version %d is not known here: %w", body[2], schemas.ErrInvalid)
	}
	// One copy; every string of every event is a part of it.
	dec := decoder{s: string(body[4:]), seen: make([]string, 0, 64)}
	count := dec.uvarint()
	if count > schemas.BatchEventsMax {
		return nil, 0, fmt.Errorf("decode envelope: %d events: %w", count, schemas.ErrInvalid)
	}
	events := make([]schemas.Event, count)
	for i := range events {
		dec.event(&events[i])
	}
	if dec.bad || dec.s != "" {
		return nil, 0, fmt.Errorf("decode envelope: its bytes do not follow the layout: %w", schemas.ErrInvalid)
	}
	return events, EnvelopeFlags(body[3]), nil
}

// decoder reads one envelope. s is what is left; bad is set by the first
// mistake, after which every read gives a zero value.
type decoder struct {
	s    string
	seen []string
	time int64
	bad  bool
}

func (dec *decoder) event(e *schemas.Event) {
	kind := dec.bytes(1)
	if dec.bad || int(kind[0]) >= len(envelopeTypes) {
		dec.bad = true
		return
	}
	e.Type = envelopeTypes[kind[0]]
	e.ID = dec.bytes(dec.uvarint())
	e.Source = dec.text()
	dec.time += dec.varint()
	e.Time = dec.time
	bits := dec.uvarint()
	for _, f := range names(e) {
		if bits&f.bit != 0 {
			*f.value = dec.text()
		}
	}
	if bits&hasLatency != 0 {
		e.LatencyMS = dec.varint()
	}
	if bits&hasTokens != 0 {
		set := dec.uvarint()
		for i := range e.Tokens {
			if set&(1<<i) != 0 {
				e.Tokens[i] = dec.varint()
			}
		}
	}
	if bits&hasUnits != 0 {
		e.Units = make([]schemas.Unit, dec.count(schemas.UnitsMax))
		for i := range e.Units {
			e.Units[i] = schemas.Unit{Name: dec.text(), Count: dec.varint()}
		}
	}
	if bits&hasTags != 0 {
		e.Tags = make([]schemas.Tag, dec.count(schemas.TagsMax))
		for i := range e.Tags {
			e.Tags[i] = schemas.Tag{Key: dec.text(), Value: dec.text()}
		}
	}
	if bits&hasCorrects != 0 {
		e.Corrects = schemas.EventRef{Source: dec.text(), ID: dec.bytes(dec.uvarint())}
	}
	if bits&hasAmount != 0 {
		if words := dec.bytes(16); len(words) == 16 {
			e.HasAmount = true
			e.Amount = schemas.MoneyFromWords(
				int64(binary.BigEndian.Uint64([]byte(words[:8]))), binary.BigEndian.Uint64([]byte(words[8:])))
		}
	}
}

func (dec *decoder) text() string {
	n := dec.uvarint()
	switch {
	case n == 0:
		s := dec.bytes(dec.uvarint())
		dec.seen = append(dec.seen, s)
		return s
	case n <= uint64(len(dec.seen)):
		return dec.seen[n-1]
	}
	dec.bad = true
	return ""
}

func (dec *decoder) bytes(n uint64) string {
	if n > uint64(len(dec.s)) {
		dec.bad, dec.s = true, ""
		return ""
	}
	s := dec.s[:n]
	dec.s = dec.s[n:]
	return s
}

func (dec *decoder) count(limit uint64) uint64 {
	n := dec.uvarint()
	if n > limit {
		dec.bad = true
		return 0
	}
	return n
}

// uvarint reads a varint (as in encoding/binary) from a string.
func (dec *decoder) uvarint() uint64 {
	var n uint64
	for i := range len(dec.s) {
		c := dec.s[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		if c < 0x80 {
			dec.s = dec.s[i+1:]
			return n | uint64(c)<<(7*i)
		}
		n |= uint64(c&0x7f) << (7 * i)
	}
	dec.bad, dec.s = true, ""
	return 0
}

func (dec *decoder) varint() int64 {
	u := dec.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

package ingest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/agentik-os/panda/schemas"
)

// A Key is the identity of an event: the first 16 bytes of SHA-256 over its
// tenant, source and id, each with its length before it, so that no two triples
// give the same bytes ("a-b"+"c" is not "a"+"b-c"). A cryptographic hash,
// because the input is chosen by tenants: with a fast one, somebody could look
// for an id that meets another tenant's key.
type Key [16]byte

// The first byte of every hashed text says what is hashed.
const (
	hashEvent   = 'e'
	hashVoid    = 'v'
	hashContent = 'c'
)

// KeyOf returns the identity of an event.
func KeyOf(tenant, source, id string) Key { return hashKey(hashEvent, tenant, source, id) }

// VoidKeyOf returns the key that the void of an event claims, so that an event
// is taken back at most once, whatever ids the voids have.
func VoidKeyOf(tenant string, ref schemas.EventRef) Key {
	return hashKey(hashVoid, tenant, ref.Source, ref.ID)
}

func hashKey(kind byte, tenant, source, id string) Key {
	var space [256]byte
	b := append(space[:0], kind)
	b = appendText(b, tenant)
	b = appendText(b, source)
	b = appendText(b, id)
	sum := sha256.Sum256(b)
	return Key(sum[:16])
}

// ContentOf returns the first 8 bytes of SHA-256 over everything in the event
// but its source and id. Two sends of one event have the same content; the same
// id with other content is a conflict. 64 bits suffice: a chance meeting hides
// one conflict, it never changes what is counted.
func ContentOf(e *schemas.Event) uint64 {
	var space [1024]byte
	b := append(space[:0], hashContent)
	b = appendText(b, string(e.Type))
	b = binary.AppendVarint(b, e.Time)
	for _, s := range [...]string{
		e.Provider, e.Model, e.Department, e.CostCenter, e.Agent, e.User, e.Session, e.Run, e.ParentRun,
		e.Status, e.Error, e.Completeness, e.ServiceTier, e.Corrects.Source, e.Corrects.ID,
	} {
		b = appendText(b, s)
	}
	b = binary.AppendVarint(b, e.LatencyMS)
	for _, n := range e.Tokens {
		b = binary.AppendVarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Units)))
	for _, u := range e.Units {
		b = appendText(b, u.Name)
		b = binary.AppendVarint(b, u.Count)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Tags)))
	for _, t := range e.Tags {
		b = appendText(b, t.Key)
		b = appendText(b, t.Value)
	}
	if e.HasAmount {
		hi, lo := e.Amount.Words()
		b = binary.BigEndian.AppendUint64(b, uint64(hi))
		b = binary.BigEndian.AppendUint64(b, lo)
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

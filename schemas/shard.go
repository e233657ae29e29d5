package schemas

import "strconv"

// A Shard is one of the parts that a deployment's usage is split into by tenant. Each
// has a stream of its own, whose positions follow each other without a gap. The zero
// value is the only shard of a deployment that is not split.
type Shard struct {
	// ID is from 0 to Of-1.
	ID uint32
	// Of is how many shards there are; 0 means 1.
	Of uint32
}

// ShardsMax bounds how many shards there may be: each has a writer, a stream and tables
// of its own.
const ShardsMax = 64

// Split reports whether there are other shards.
func (s Shard) Split() bool { return s.Of > 1 }

// String is the shard's number, as subjects and names carry it.
func (s Shard) String() string { return strconv.FormatUint(uint64(s.ID), 10) }

// Stream is the shard's part of the book of record: StreamUsage, or StreamUsage-<shard>
// where there are several.
func (s Shard) Stream() string {
	if !s.Split() {
		return StreamUsage
	}
	return StreamUsage + "-" + s.String()
}

// Subjects are all subjects of the shard's stream. What runtimes publish, what gateways
// publish, and price book revisions lie on one stream, so that which revision prices
// an event is a function of the log.
func (s Shard) Subjects() []string {
	if !s.Split() {
		return []string{"usage.*", "envelope.*.*", "prices.*"}
	}
	return []string{"usage." + s.String() + ".*", "envelope." + s.String() + ".*", s.PricesSubject()}
}

// DirectSubject is where CloudEvents JSON is stored that a runtime of the tenant
// published to the subject of that name: usage.<tenant>, or usage.<shard>.<tenant>
// where there are several shards.
func (s Shard) DirectSubject(tenant string) string {
	if !s.Split() {
		return DirectSubject(tenant)
	}
	return "usage." + s.String() + "." + tenant
}

// EnvelopeSubject is where gateways publish validated batches of a tenant:
// envelope.<shard>.<tenant>. No runtime can publish here.
func (s Shard) EnvelopeSubject(tenant string) string { return "envelope." + s.String() + "." + tenant }

// PricesSubject carries price book revisions: prices.<shard>.
func (s Shard) PricesSubject() string { return "prices." + s.String() }

// Shards returns all shards where there are of, 0 meaning 1.
func Shards(of uint32) []Shard {
	list := make([]Shard, max(of, 1))
	for i := range list {
		list[i] = Shard{ID: uint32(i), Of: of}
	}
	return list
}

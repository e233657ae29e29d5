package schemas

import (
	"strconv"
	"strings"
)

// The streams of the event log.
const (
	// StreamUsage is the book of record: every usage event, in the order that
	// decides verdicts. Limits retention, discard new, fsynced before the ack.
	StreamUsage = "USAGE"
	// StreamControl holds what people decide: tenants, keys, prices. It is the
	// audit log and keeps everything.
	StreamControl = "CONTROL"
	// StreamDecisions holds facts that may exist once: at most one message per
	// subject, the first one stands.
	StreamDecisions = "DECISIONS"
)

// Subject filters of the streams.
const (
	// SubjectsDirect is where a runtime with NATS credentials publishes
	// CloudEvents JSON: usage.<tenant id>.
	SubjectsDirect = "usage.*"
	// SubjectsEnvelope is where gateways publish validated batches:
	// envelope.<shard>.<tenant id>. No runtime can publish here.
	SubjectsEnvelope = "envelope.*.*"
	// SubjectsPrices carries price book revisions in log order, so that which
	// revision prices an event is a function of the log: prices.<shard>.
	SubjectsPrices    = "prices.*"
	SubjectsControl   = "control.>"
	SubjectsDecisions = "decision.>"
)

// DirectSubject returns the subject a runtime of the tenant publishes to.
func DirectSubject(tenant string) string { return "usage." + tenant }

// EnvelopeSubject returns the subject a gateway publishes a tenant's batch to.
func EnvelopeSubject(shard uint32, tenant string) string {
	return "envelope." + strconv.FormatUint(uint64(shard), 10) + "." + tenant
}

// PricesSubject returns the subject of price book revisions for a shard.
func PricesSubject(shard uint32) string { return "prices." + strconv.FormatUint(uint64(shard), 10) }

// A SubjectKind says through which door a message of StreamUsage came.
type SubjectKind uint8

// The kinds of subjects in StreamUsage.
const (
	SubjectUnknown SubjectKind = iota
	SubjectDirect
	SubjectEnvelope
	SubjectPrices
)

// ParseUsageSubject takes a subject of StreamUsage apart. The tenant of an
// event is the one its subject names, never one that its payload claims.
func ParseUsageSubject(subject string) (kind SubjectKind, tenant string) {
	parts := strings.Split(subject, ".")
	switch {
	case len(parts) == 2 && parts[0] == "usage":
		return SubjectDirect, parts[1]
	case len(parts) == 3 && parts[0] == "envelope":
		return SubjectEnvelope, parts[2]
	case len(parts) == 2 && parts[0] == "prices":
		return SubjectPrices, ""
	}
	return SubjectUnknown, ""
}

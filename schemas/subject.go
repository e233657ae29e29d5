package schemas

import "strings"

// The streams of the event log.
const (
	// StreamUsage is the book of record: every usage event, in the order that
	// decides verdicts. Limits retention, discard new, fsynced before the ack. A log
	// with several shards has a stream like it for each; see Shard.
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
	SubjectsControl   = "control.>"
	SubjectsDecisions = "decision.>"
)

// DirectSubject returns the subject a runtime of the tenant publishes to, whichever
// shard the tenant is in.
func DirectSubject(tenant string) string { return "usage." + tenant }

// A SubjectKind says through which door a usage message came.
type SubjectKind uint8

// The kinds of subjects of a shard's stream.
const (
	SubjectUnknown SubjectKind = iota
	SubjectDirect
	SubjectEnvelope
	SubjectPrices
)

// ParseUsageSubject takes a subject of a shard's stream apart. The tenant of an
// event is the one its subject names, never one that its payload claims.
func ParseUsageSubject(subject string) (kind SubjectKind, tenant string) {
	parts := strings.Split(subject, ".")
	switch {
	case len(parts) == 2 && parts[0] == "usage":
		return SubjectDirect, parts[1]
	case len(parts) == 3 && parts[0] == "usage":
		return SubjectDirect, parts[2]
	case len(parts) == 3 && parts[0] == "envelope":
		return SubjectEnvelope, parts[2]
	case len(parts) == 2 && parts[0] == "prices":
		return SubjectPrices, ""
	}
	return SubjectUnknown, ""
}

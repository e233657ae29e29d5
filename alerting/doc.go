// Package alerting notices that a budget or a quota is nearly used up, and its promise is
// that a crossing fires once: not again after a restart, a replay, on a second node, or
// when the numbers are corrected, and never not at all.
//
// # Decision first, effect second
//
// What fired is a record on stream DECISIONS under a subject of its own, which may hold
// one message: whoever comes first decides, for ever. Everything else follows that
// stream: the [Book] is its fold, and package outbox tells people of it. A [Message] is
// made of records alone, so that the same one can be made again after a crash, under the
// same id. Package channel hands messages over.
//
//	decision.<tenant>.alert.<alert id>.<episode>.<kind>
//
// The tenant is "platform" for what is no tenant's. An alert id is a hash of what the
// alert is about: rule, limit, name, period, revision of the limit and threshold. So a
// changed budget or another month is another alert, and the same crossing is the same
// one wherever and whenever it is noticed.
//
// # Thresholds
//
// [Judge] is pure: what a tenant uses, what it may use and what stands in the book go in,
// the records that are due come out. It looks at totals, not at events, so there is
// nothing to miss: a jump over three thresholds fires three, and what nobody looked at in
// time is found by the next look. The [Evaluator] looks at a tenant when its usage was
// counted or its limits were changed, and at everybody every minute and when it begins.
//
//	fired ──▶ resolved ──▶ reopened ──▶ resolved …
//
// A threshold fires once per limit, name, period and revision of the limit. It is
// resolved when usage falls below it (a void, an adjustment, a level that falls), when the
// limit is raised or taken away, and when the period is over. Crossed again in the same
// period, it is reopened: people see it in lists and are not told again. If its limit was
// changed and the threshold is crossed under the new one too, the alert of the new
// revision takes its place, and the old one is superseded.
//
// # Rules
//
// Package rule reads people's own rules and runs them. Their alerts come in episodes: one
// fires, is resolved, and the next may fire. [Book.Episodes] says which is open, and
// [Once] runs what an episode does beside telling people.
//
// # Time
//
// Which period it is, a reading says, and a node whose clock is wrong says it wrongly.
// That cannot fire anything twice, because what fired is on the log. A period ends by
// two signs: the clock of the reading has passed its end, and the limits of the reading
// are of a later one. A clock that goes ahead ends what fires, and when it is set right
// the alerts are reopened, silently; one that goes back ends nothing. Usage of the day or
// the month before that is counted late still fires its alerts, for as long as the source
// says what is used of it.
//
// # When things fail
//
// A node that dies between two records of a jump leaves the rest to the next look, its own
// or another node's. A decision whose acknowledgement was lost may have been made; made
// again, it is refused and what stands is taken. One node at a time decides, by a lease;
// two that believe to hold it decide what one would, because a reading that counts less
// than the record before it, or knows an earlier revision of the limit, resolves and
// reopens nothing. While the log, the live totals or the registry cannot be reached,
// tenants wait in a set that holds each once and drops none, and are tried again within
// fifteen seconds. Where the cost of a name is not known, its limit is left alone until it
// is. A record of a later version is passed over and counted, and nothing more is decided
// about its alert here. An erased tenant's records go from the log and from the book.
//
// A limit that was changed after its month or day was over is not judged for it any
// more: what it was then is not known. The calls of a minute are those of one node.
package alerting

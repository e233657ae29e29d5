// Package alerting tells people that a budget or a quota is nearly used up, or that
// something is wrong, and its promise is that a crossing is told once: not again after
// a restart, a replay, on a second node, or when the numbers are corrected, and never
// not at all.
//
// # Decision first, effect second
//
// What fired is a record on stream DECISIONS under a subject of its own, which may hold
// one message: whoever comes first decides, for ever. Everything else follows that
// stream: the [Book] is its fold, and the outbox sends what it reads there. Sending may
// repeat after a crash, with an id that makes the repeat harmless.
//
//	decision.<tenant>.alert.<alert id>.<episode>.<kind>
//
// The tenant is "platform" for what is no tenant's. An alert id is a hash of what the
// alert is about: rule, limit, name, period, revision of the limit and threshold. So a
// changed budget or another month is another alert, and the same crossing is the same
// one wherever and whenever it is noticed.
package alerting

// Package ingest takes usage events in and gives each its verdict.
//
// Promise: an acknowledged event is never lost and never counted twice,
// whatever dies, whenever it is sent again, at any age.
//
// # The way of an event
//
//	received ── gateway: who, valid? ──► rejected (answered, not stored)
//	    │
//	    ▼ append, fsynced; only now acknowledged
//	on the log ── writer: verdict ──┬─► new         usage_raw + usage_keys
//	                                ├─► duplicate   counted in the ledger only
//	                                ├─► conflict    kept in conflicts
//	                                └─► quarantined kept in quarantine
//	    │
//	    ▼ ledger row for the range: THE COMMIT POINT
//	counted
//
// # Why it holds
//
// The log is the book of record; ClickHouse is a projection of it. The verdict
// on an event is a pure function of the log: it is new if and only if no earlier
// (sequence, index) on the log holds the same tenant, source and id. The
// [Writer] reads the log from the position after the newest ledger row, never
// from a broker's idea of what was acknowledged, and writes rows, then keys, then
// the ledger row.
//
// # One tenant's flood
//
// A gateway lets in so many requests and bytes of one tenant, and answers 429 to
// the rest before it reads them. What is let in is decoded and appended a few
// requests at a time, by start-time fair queuing over tenants. Names need no bound
// here: live totals keep 50,000 combinations of one tenant apart and the rest in
// one group, with exact totals.
//
// Whether the sender may still send is asked twice: before the body is read, and
// right before the events go on the log.
//
// # Failure story
//
// A crash before the ledger row repeats the range: the same records give the
// same verdicts (keys with a sequence after the ledger's position are ignored),
// the same rows are inserted again, and ReplacingMergeTree collapses the exact
// copies. A crash after it costs nothing. An insert whose answer was lost is
// repeated the same way. Two writers cannot commit at once: a lease says who may,
// it is checked right before the commit, and a writer that was paused in between
// writes the same verdicts the other one does.
//
// Nothing expires from the identity of an event: there is no deduplication
// window. A filter in memory without false negatives decides which keys need a
// lookup, so the cost per event stays bounded.
//
// What cannot be judged (an unreadable message, a forged one, a void without a
// target) is kept whole in quarantine, and its neighbours in the message are not
// touched.
package ingest

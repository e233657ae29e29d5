// Package pricelist keeps the price book's revisions.
//
// Promise: which revision priced an event is a function of the log, and every
// revision that ever priced one can be read for ever.
//
// A revision is published in two steps. First its rows are appended to CONTROL
// under control.prices.<number>, where the number is the one after the newest
// and a subject can be taken once; that is the decision, and the audit record.
// Then its number is appended to each shard of USAGE, between the events: from
// that place on it prices them. So a replay of the log prices every event as the
// first run did, without a look at any clock.
//
// Failure story: a crash between the two steps leaves a revision that is decided
// and prices nothing yet; Announce, which runs at every start, appends the number
// again. Appending it twice is harmless; an older number never follows a newer one,
// because each append is a compare-and-set on the shard. Two people who publish at
// once: one gets ErrConflict and looks at the other's revision first.
package pricelist

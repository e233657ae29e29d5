// Package placement says in which database a tenant's rows lie, and its promise is
// that every row counts in exactly one place, at every moment of a move.
//
// A tenant's content (usage_raw and the windows in rollup) lies in the shared
// database, or in one of its own. Where it lies is a fact on stream CONTROL; this
// package turns that into views: who reads or writes takes a [View], which does not
// change while it is held.
//
//	shared database         what vouches for the log, over all tenants: ledger,
//	                        usage_keys, conflicts, quarantine, job_runs
//	                        content of the tenants that share it
//	shared_ten_0123…        content of one tenant
//
// What lies in a place that is not the tenant's in force is passed over by every
// statement: the shared database is read without the tenants that are elsewhere, and
// a database of a tenant that has moved away is not read at all. So a copy under
// way, or what a move left behind, is never counted, and the change of the fact is
// the whole change.
//
// A view has to be taken after the position of the ledger that it is read as of. A
// move changes the fact when nothing is being committed, with all rows up to the
// ledger's position in both places; so a view taken after that position holds all
// rows up to it.
//
// # When things fail
//
// A view that needs a database that is not there makes it, so a new tenant with a
// database of its own needs no other step; if that cannot be done, there is no view,
// and the caller fails as it does when the warehouse is away. Rows are taken away
// from a place that is no longer in force only after [Map.Drain], when nobody reads
// it any more.
package placement

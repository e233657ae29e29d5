// Package isolation moves a tenant's rows and windows between the shared database and
// a database of its own, while events are counted. Its promise: every event of the
// tenant counts once at every moment, and whatever dies, either the old or the new
// place is in force, never both and never neither.
//
// # A move
//
//	begun     the target is empty of the tenant
//	copied    rows in chunks, by ranges of the log, each held against its source;
//	          how far it has come is kept, so a move that was killed goes on
//	paused    no commit, no pass and no repair; events are still acknowledged.
//	          What is left is copied, and the windows
//	placed    THE CHANGE: the fact on stream CONTROL. Counting goes on
//	ok        nobody reads the old place any more, both are compared once more in
//	          whole, and the old rows are taken away
//
// The pause is short because only what was committed during the last round is copied
// in it. It is taken under the writer's lease, so no writer of another node commits
// either.
//
// # Why nothing is lost or doubled
//
// What lies in a place that is not in force is passed over by every statement (see
// package placement). Before the change the copy does not count, after it the source
// does not. At the change both hold all rows up to the ledger's position, and whoever
// writes or reads after it takes the new place.
//
// # When things fail
//
// How far a move has come is in job_runs, under "move-" and the tenant's id. A crash
// before the change leaves the old place in force and a copy that nobody reads; after
// it, the new place in force and old rows that nobody reads. [Mover.Recover], called at
// each start, goes on from there: to the end, or to taking away what is left of a move
// that was given up. Two sides that differ end a move with [ErrDiffers] before the
// change, with the old place in force; after it, the old rows stay for a person to look
// at. If the change was sent to the log and not answered, it is sent again until it is
// known to stand, and counting stays paused for that long.
package isolation

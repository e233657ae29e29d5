// Package torture breaks real processes of panda in every way it knows, and holds
// what they counted against what was acknowledged.
//
// Promise: a run that ends well has seen every acknowledged event counted exactly
// once, every refused one absent and every other one at most once, on every way
// there is to read usage, at every moment at which a reader looked; and it says how
// often each fault happened and each crash point was passed, so that what was not
// tried does not look like what held.
//
// The parts: a [Panda] is the program as it is built, on a data directory that
// outlives its processes; a [Book] is the history of every event of a tenant, from
// the sender's side alone, in integers without bounds; a [Loader] sends and keeps
// the book; a [Reader] looks while all that goes on; [Check] reads the engine's own
// tables at the end. A [Scenario] puts them together with faults, a [Runner] runs
// scenarios by turns, a [Tally] counts. Nothing here shares code with what it
// checks: sums are made from what was sent, and tables are read with plain SQL.
//
// Failure story: a round that fails keeps its directory, with the data, what the
// processes said and which points they passed, and the run prints the command that
// repeats it. The seed decides what is sent and which fault comes when, not how
// the machine schedules threads: a failure that depends on that may need more
// rounds to come again. A round that gets stuck ends after a limit, as a failure.
package torture

// Package failpoint names the moments at which a crash is interesting, and ends
// the program there when a torture run asks for it.
//
// Promise: in a program built without the tag failpoint, Hit and Reached are empty
// functions that the compiler removes, and no environment variable does anything.
// With the tag, every point that is passed leaves a line that survives the death
// of the process, so that a run can prove which moments it has been at.
//
// A program with the tag reads these variables:
//
//	PANDA_FAILPOINT      writer_rows_written:kill:3,lease_taken:stop:1
//	PANDA_FAILPOINT_LOG  a file that gets a line per point passed
//
// A third, PANDA_FAILPOINT_SCHEDULE, replaces the schedule of every job.
//
// The first names points, each with an action and the pass (counted from 1) at
// which it happens: kill ends the process at once, as kill -9 does; stop pauses
// it, as kill -STOP does, until somebody continues it. A line of the second is the
// point, how often this process has passed it, and the process id. The first
// passes are written each, later ones when the count has doubled: a point on a hot
// path must not fill a disk.
//
// Points come in two kinds. A crash point is a moment between two effects, with
// the number that the list of crash points gives it (K1, K2, …), and what must
// happen after a death there. A rare path is a branch of the product that only
// trouble leads into; a run that never took it has not tested it.
//
// Failure story: a name or an action that does not exist ends the program at the
// start, in Check, because a failpoint that is never hit looks like a test that
// passed. A log that cannot be written to ends it too.
package failpoint

// Command torture breaks panda in every way the project knows and says whether it
// still counted right.
//
// Promise: the exit code is 0 only if rounds were run and every one of them held:
// nothing acknowledged was lost, nothing counted twice, every answer that a reader
// saw was possible at that moment, and every control, which is a design known to be
// weaker, was caught by the same check.
//
// It needs a panda that was built with the tag failpoint; `make torture` builds one.
// Scenarios are listed in scenarios.go, and `torture --list` prints them. The same
// program is also the process that records events through ingest/client (torture
// record) and, told so by its environment, a log server of a cluster, so that they
// can be killed.
//
// Failure story: a round that fails is reported at once, with the command that
// repeats it, and keeps its directory; the others go on. An interrupt finishes
// nothing: the round under way is not counted, and all processes are ended. What a
// killed run leaves is in its directory, and processes that lost it end by
// themselves, but for a panda, which is named in a round's log.
package main

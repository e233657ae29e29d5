// Package bench measures panda, and what panda stands on, in one run.
//
// Promise: every figure of a Report was measured in the run that prints it, and
// so was the limit it is held against: the same engine, the same log, the same
// rows, minutes apart. A figure that was not measured has no row. What a row
// means to beat (must, aim) is a constant; everything else is a clock, a counter
// of the kernel, or a count of the tables.
//
// The parts: a load generator (load.go) that runs as a process of its own and
// says what it cost, events with UUIDv7 ids and uneven sizes (event.go), tables
// filled by the engine itself (fill.go), the other way of writing (peer.go), and
// the kernel's accounts of processes (proc.go). What wires them to a pipeline is
// cmd/panda/bench.go.
//
// Failure story: a bench that cannot measure a row ends with an error and prints
// none of it; there is no figure from half a run. Its data is in a directory of
// its own, which it removes. A load generator whose parent dies reads the end of
// its input and stops.
package bench

// Command panda is the whole system in one binary: it runs the pipeline, and it
// is the command line that people ask it with.
//
// Promise: what a command prints is what the server answered; a command that
// could not do its work says why in one line, and its exit code says what kind of
// thing it was (see `panda --help`).
//
// serve.go is the only place where the stages meet: startPipeline makes them in
// the order of the data, hands each what it asks for (adapt.go, routes.go), and
// stops them in the same order. Every other command speaks the HTTP API: to the
// server at --url, to the one that runs on the data directory, or to one that is
// started in this process for as long as the command takes (engine.go, connect).
//
// Failure story: the log is opened first, and with it events are acknowledged;
// the warehouse is opened behind it. If it does not open, the program ends and
// says why, and what was acknowledged waits on the log. If an invariant turns out to
// be broken the counting halts (counting.go) and the doors stay open, until it is
// mended. On a signal the doors
// close, what runs is finished, and the program ends; a second signal ends it at
// once, which costs nothing but the time to read the last range again.
package main

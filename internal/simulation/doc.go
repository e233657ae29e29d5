// Package simulation runs the whole core in one goroutine's order, a seed's, and
// its promise is that a seed gives the same run byte for byte and that no run
// loses an event, counts one twice, or shows a reader a number that is not the
// log's.
//
// What runs is the real code: [ingest.Gateway] behind its handlers,
// [ingest.Writer], [aggregate.Live] and [rollup.Worker], wired as the binary wires
// them, in two nodes that fight for a lease and two or three gateways. What they
// talk to through their ports stands in: a log, a warehouse, a lease, claims, prices.
// All of it is in test files, because a bubble of testing/synctest is entered from
// a test and because nothing of it may be linked into the binary; go test -c makes
// a program of it.
//
// # The scheduler
//
// Every call through a port waits until all goroutines rest. Then one of the
// waiting calls is chosen and one of these happens to it: it is answered; it
// fails; it happens and its answer is lost; it fails and happens later, perhaps
// after its process is dead; it happens twice; a part of it happens; it takes
// long. When nobody can move, the bubble's clock does. Besides, processes crash,
// pause beyond their lease, lose sight of it, and have clocks that are wrong by an
// hour or a year; the warehouse and the log are away, crash, are full; requests
// are lost, delivered twice, overtake each other, and come again in other groups.
//
// Every decision is a hash of the seed and of the name of what it is about
// (n1#2.commit.3 is the third commit of the second life of node n1), not of how
// many decisions came before. So a fault can be left out and the others stay, and
// a failing run can be made smaller. One choice is the runtime's: which of two
// ready cases a select takes. The scheduler never makes two ready at once; the
// loss of a lease is told while the writer waits for nothing else.
//
// # The oracle and the checker
//
// The oracle recounts the log with a map and big integers: verdicts by comparing
// events, prices as tokens times the price, windows by dividing time. Readers look
// at seeded moments, between any two steps, and each read path must equal the
// oracle as of the position that path states: the ledger range by range, the rows
// as ReplacingMergeTree collapses them, row hashes, live totals and their
// breakdowns and levels per tenant, hours, days and months. Two writes of one
// identity must be equal. Clients remember what they were told: acknowledged
// events are on the log, refused ones are not. At the end all must come to rest,
// with ledger, rollups and the writer's live totals at the end of the log; what a
// damaged warehouse lost must come back from the log as it was ([ingest.Replayer]);
// and before another log the writer must halt.
//
// A window beyond the rollups' position is judged as of its own generation if it
// is an hour; a day or a month is not judged while hours in it are ahead of the
// position, because the pass that made them is still under way.
//
// # What is proven to be seen
//
// [TestNegativeControls] runs designs and stores that are wrong, and the same
// checker must catch each. The rare paths are counted, and a range of seeds that
// does not take one of them fails. Seeds that once found something are in
// testdata/seeds.txt and run for ever.
//
// # What is not in it
//
// The auditor, the verifier and repairs ask the warehouse in SQL and have no port;
// their tests run on the engine. A breach of an invariant ends a node here, and
// fails the run, but for the two that are asked for: another log, and a clock that
// went back, after which somebody lets the writer go on. Statements in SQL are
// stood in for by what they are meant to do: that they do it, the tests of their
// packages show.
//
// Bills have no port yet. Theirs belongs beside storePort, its checks beside
// lookAtWindows.
//
// # When a seed fails
//
// The test prints the line that makes the run again, then a smaller run and its
// story:
//
//	go test ./internal/simulation -run 'TestSimulation$' -seed=26 -faults=n1#2.commit.1,w5 -steps=c7,c12
//
// Put the line into testdata/seeds.txt with what it found, and add -trace to see
// every step. A run that differs when it is made again is a defect of the
// simulation: something decides by what is not a hash. A run that hangs has a
// goroutine that waits for neither the scheduler nor the clock, such as one that
// wants a mutex whose holder waits for a port; the test's timeout shows it.
package simulation

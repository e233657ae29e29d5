// Package demo makes a month of believable usage, sends it through the real
// doors, and says whether what panda counted is what was sent.
//
// Promise: the numbers on the demo's screen come from the API alone, and they are
// compared with what the generator knows it sent: every count, every token
// bucket, every cost, to the pico-dollar. The generator prices by a small table
// of its own ([Generator.Expected]), so that an error in the pipeline's
// arithmetic cannot hide in the comparison.
//
// # The parts
//
//	Generator   a month of four tenants from one seed: batches of CloudEvents,
//	            with retries, late and bad events among them, and the Expected
//	Load        sends the batches through HTTP and NATS, with retries
//	Collect     reads what was counted from the API
//	Compare     lists every number that differs
//	Screen      draws the cost attribution of a tenant, and the tables below it
//	Run         all of this, in order
//
// The generator uses whole numbers only, so that a seed makes the same month on
// every machine. It holds the batches being filled and what is to be sent late,
// never the month.
//
// # Failure story
//
// A batch whose answer was lost is sent again and may then arrive twice. That
// never changes what is counted as usage, but it adds to the duplicates; the
// comparison then allows for as many more as were sent again, and says so. Any
// other difference is a [Mismatch], and ends the demo with an error. A demo that
// was interrupted leaves its data directory, which the next one replaces.
package demo

// Package outbox hands alerts over to people. Its promise is that every record that is
// to be told is handed over at least once, whatever dies on the way, and that whatever is
// handed over again has the id that it had before, by which a receiver knows it.
//
// # The way of a record
//
//	DECISIONS ──cursor──▶ Plan ──▶ deliveries ──▶ Channel.Send ──▶ sent
//	                                    │              │
//	                            muted, waiting     failed: again later, or dead
//
// [Plan] is pure: a record, who may be told, and a moment go in, and what is to be
// delivered comes out: one [Delivery] per channel, and of e-mail per address, because a
// mail server that refuses one recipient refuses the mail. Its id is a hash of the record's
// subject, the channel and the address, and is the message's id at the receiver. It is
// made in a bucket of the log before the cursor moves, and before anything is sent.
//
// What is not told at once waits, in the bucket too: for the end of quiet hours, or for a
// digest, which is a delivery of several records. Alerts that are critical wait for neither.
//
// One node at a time delivers, by a lease. Two that believe to hold it may both send, with
// the same ids; every change of a delivery is compared with the one before, so that what
// one of them has finished stays so.
//
// # When things fail
//
//	the node dies after            and then
//	the record was decided         the next one reads it from the cursor
//	a delivery was made            it is there already when the record is read again
//	the cursor was moved           nothing is missing: its deliveries were made before
//	the message was sent           it is sent again, with the same id
//	it was marked as sent          nothing follows
//
// A channel that fails is tried again, after 5 seconds and then twice as long each time up
// to an hour, or after what the receiver asks for, for 48 hours; then, or when a receiver
// says that it never will, the delivery is dead. A person sees it and can have it sent
// again ([Outbox.Replay]). A channel that is slow holds up nobody but itself: so many
// messages are on the way to one, and the others have their own. What belongs to one
// incident is sent to one channel in order, so that nothing is resolved before it fired.
//
// A clock that jumps does no harm: nothing is dead by the clock alone, and what should wait
// for longer than anything does is sent. A mail server that is down for an hour costs an
// hour. A record that was erased is not sent.
package outbox

// Package stripe puts what a tenant owes on an invoice at Stripe, and its promise is that
// a statement is charged once: whatever is lost, repeated, late or dead on the way, the
// invoice that is finalized holds every line of the statement once and nothing else, or
// none is finalized and a person is told why.
//
// Exactly once is an effect here. It is made of requests that may be sent again, an
// identity that stays the same, and a look at what is there while the invoice is a draft.
//
// # The way of a statement
//
//	planned ─► draft invoice ─► lines ─► read back and compared ─► finalized ─► compared
//	            │ its own record in a bucket, changed by compare-and-set
//	            └ anything that a person must decide ─► attention
//
// A [Bill] is checked first: its lines sum to its total, its amounts are whole in its
// currency, more than 200 lines are put together. Then each request is frozen: the very
// bytes of its body, and a key that is a hash of account, mode, invoice, line and a
// generation. The record with them is stored before the first request, so that a process
// that begins again, and a second one that believes to be alone, send the same key, and
// Stripe makes one of them. [Judge] knows what each answer means:
//
//	taken     what came back is what was sent
//	later     nothing happened (limiter, key in use): the same key after a pause
//	unknown   it may have happened (timeout, cut, broken answer): the same key again
//	stored    Stripe will give this error for the key for a day (500, lock_timeout):
//	          read the invoice back; if the line is not there, the next generation
//	closed    the invoice takes nothing any more
//	refused   the request is wrong, or not what the key was first used for: a person
//	denied    the secret key may not do this: nothing is changed, the caller is told
//
// A key is never sent later than 23 hours after its first sending, because Stripe forgets
// it after 24; then, too, the invoice is read back first. And a new generation is begun
// only when nothing of the old one can be on its way any more.
//
// # Two modes
//
// An invoice of our own (mode A) is a draft that does not advance by itself, and we
// finalize it. Or the lines go on the draft that a subscription made at the end of its
// period (mode B, Bill.Invoice names it): it is left to Stripe to finalize, within the hour
// for which it stays a draft.
//
// # What comes back
//
// [Inbox.Take] takes Stripe's events: signed, neither too old nor from the future, of this
// mode. It does nothing with them but store them under their id, so one that comes twice
// is one. [Inbox.Work] hands each stored event to the reaction until it succeeds, and
// [Inbox.Poll] fetches what was never delivered from Stripe's own list. An event is a hint:
// whoever reacts to it reads the object again.
//
// [Compare] holds statement, record and invoice against each other, line by line; [Plan]
// says what could be mended, for drafts only; [Pusher.Repair] does it when it is told to.
//
// # When things fail
//
// A process that dies at any point leaves a record that says what may have been sent; the
// next one sends it again under the same key. Stripe that is away is tried with growing
// pauses for Config.Patience, then the record waits for the next call of [Pusher.Push].
// One pusher at a time works on a statement, by a lease; two that believe to hold it send
// the same keys, and the one whose record is older stops at its next write. What somebody
// did at Stripe by hand (a line changed, an invoice finalized, voided or deleted) is never
// overridden: the record goes to attention with the reason, and [Pusher.Resume] goes on
// after a person has looked.
//
// What is not promised: a request that its sender gave up and that takes effect after
// Config.Quiet, in the moment between the last look and the finalizing, would be on the
// invoice beside its next generation. The look after the finalizing sees it and tells a
// person. And a subscription's draft that Stripe finalizes before all lines are on it keeps
// those that are; the others are named, and a person bills them otherwise.
//
// Nothing in this version calls this package by itself. Secret keys are never printed; a key says by its prefix whether it is for test or live
// mode, and the records of the two are apart.
package stripe

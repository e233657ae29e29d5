// Package erasure promises that what a tenant or one of its users asked to have erased
// is gone for ever, from every store and from the files under it; that nothing brings
// it back; and that everybody else's numbers stay what they are, and stay provable.
//
// # What goes, what stays
//
// Of a tenant goes: its messages on the log, its rows, identities (hashes, but of ids
// that somebody may know), conflicts, quarantine, windows, decisions, and its records
// in the registry. Its random id stays, and what was erased as numbers: per committed
// range of the log in table erased, per month in the [Certificate].
//
// Of a user go the names: user, session, runs, tags and error texts of the rows that
// name them, the bodies of rejected events that do, and the messages that carried any
// of them. Money, tokens and the event's own id stay, so no sum changes.
//
// # How
//
//	begun     nothing of the tenant comes in any more; all that came is counted
//	plan      per range: what the ledger vouches for and will be gone;
//	          on the log: at which positions
//	planned   the row in table erasures: THE COMMIT POINT. From here on verify,
//	          audit and replay look at nothing of it, whether it is gone yet or not
//	erase     tables, replaced part files, log and its block files, live totals
//	check     nothing is found any more; what came meanwhile has its own round
//	done      the certificate is on stream CONTROL, the registry's records are gone
//
// The ledger is never changed: it vouches for sums over all tenants, and what is stored
// plus what was erased is what it says. Where messages are gone for ever is also kept
// on the log ([Places]), for a warehouse that is made anew from it.
//
// # When things fail
//
// Every step can be repeated, and how far an erasure came is in a bucket of the log,
// without a name. A crash before the commit point leaves a plan that nobody looks at,
// after it an erasure that the next call, or the hourly job, completes. Nothing that
// restores rows from the log restores those: they do not count any more. A backup of
// the warehouse from before brings the rows back, and a node that is behind may write a
// record about the tenant before it reads of the erasure; [Eraser.Sweep] finds both and
// erases them again. Copies of files outside the data directory, and what a disk keeps of
// unlinked blocks, are out of reach.
package erasure

// Package rollup turns accepted usage into windows (hours, days, months), and
// its promise is that a window is a function of the log: every window is
// replaced by a recomputation as of a ledger position and never incremented, so
// late, void, adjusted and repeated usage are one operation, and running
// anything twice changes nothing.
//
// # A pass
//
// A pass begins at P, the position of the last pass that ended well, and ends at
// L, the end of the newest ledger range that follows without gap.
//
//	ledger (P, L] ── names the dirty hours ──► hours from usage_raw, seq <= L
//	                                           days  from hours
//	                                           months from days
//	                                           job_runs: rollup, ok, L   the commit point
//
// Each step writes whole rows with generation L; readers take the row with the
// highest generation. The cost follows the dirty windows: an hour is found by
// the primary key, whatever the table's size. A busy hour is recomputed again and
// again, so passes keep to a share of the time, a small one unless somebody waits
// for them; live totals cover what is younger.
//
// # Parts
//
// [Worker] makes the passes. [Jobs] runs everything that has a schedule, one at
// a time across nodes, and shows what ran and what comes next. [Verifier] proves
// that log, ledger, events, identities, rejects and windows agree, or says where not;
// [Repairer] mends what it finds, each thing from what it was made of; [Auditor] does
// both for each range soon after its commit.
//
// [Billing] makes statements of what tenants owe: drafts at any moment, and months that
// are sealed once on the log. It reads events as of a position rather than windows, so that
// a statement can be made again; package bill does the arithmetic.
//
// # When things fail
//
// A pass that dies anywhere before its last statement leaves windows that are
// right for a position between P and L, or not yet there: each row is whole. The
// next pass begins at P again and replaces them all. A pass whose last statement
// was applied and not answered is simply done. Two passes at once write the same
// rows, and of two positions the higher wins. A ledger with a gap or an overlap
// stops the worker with [ErrLedgerBroken], because no total after it could be
// trusted; an engine that is away is waited for.
package rollup

// Package bill says what a tenant owes for a month, and its promise is that the same
// facts give the same bill, to the byte, and that every sum in it adds up.
//
// [Calculate] is pure: plans with their [Rates], usage, credits and corrections go in, a
// [Statement] comes out. Rates are the billing sections of schemas/plans.yaml, under its
// version, and stay on the statement: what was charged can be charged again without them.
//
// # Who pays what
//
// A change of plan, or the end of a trial, cuts the month into spans. A span pays its
// share of the fees, has its share of the included tokens, and its usage by its own
// prices: no change reaches back. In a trial nothing is charged. Storage is charged by its
// highest level. Lines belong to departments, models, cost centres and agents by what
// these used; a base fee is nobody's.
//
// # Rounding
//
// Amounts are whole pico-USD, and exact but for three steps that are named at
// [Calculate]. Minor units are rounded once, for the total, halves away from zero, in
// the steps of the currency. What the lines' own rounding leaves over is handed out by
// largest remainder, so that lines sum to the total and parts to their line, and none is a
// whole step away from its exact amount.
//
// # Corrections
//
// A month that is sealed does not change. [Adjust] compares what its usage comes to now
// with what was billed, then and since, and the difference is lines of a later month. A
// month that comes out below zero is one of zero, and the rest is the next month's credit.
//
// # When things fail
//
// Rates that charge in no definite way, sums that leave their range, and a currency that
// nobody is sure about are errors, never guesses. [Decode] refuses a statement that was
// changed after it was signed.
package bill

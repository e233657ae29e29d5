// Package invariant names what must hold at every moment, and promises that a
// breach is never passed over: it stops the counting, says in one sentence what
// was found and where, and stays visible in a metric until a person has looked.
//
// A stage that finds a breach returns [Broken] (or an error that wraps one made
// by [New]); it does not go on, and it does not end the process: a process that
// is gone can neither be asked nor scraped, and events that come in meanwhile
// are safe on the log. Whoever runs the stages hands the error to a [Monitor],
// which counts it and remembers the first.
//
// Failure story: a Monitor has no state on disk. After a restart the stage that
// found the breach finds it again, because each check reads what is stored.
package invariant

// Package aggregate turns accepted events into the numbers people ask for, and
// its promise is that a number is exact and says as of where: every answer
// names the position in the log it covers, sums are integers, and no sum is an
// estimate, live or from history.
//
// There are three parts.
//
//   - [Fold] is pure: accepted events in, running totals per tenant, window and
//     combination of dimensions out. It is the live state and also the oracle
//     that every SQL statement over the same events is tested against.
//   - [Live] is a Fold that many goroutines read while the writer feeds it. It
//     owns nothing that must survive: at start it is rebuilt from usage_raw as
//     of the ledger's position.
//   - [Reader] answers questions. A month or day that the fold keeps comes from
//     the fold; everything older comes from the rollup table, one row per
//     window, and never from a scan of events. Single events come from
//     usage_raw, bounded by tenant and page.
//
// [Decide] is the pure rule whether an agent runtime may do what it is about to do:
// call a model, create an agent, upload, start a session. [Live.Decide] asks it
// about a tenant as of one commit, at the same cost whatever the tenant's size: the
// cost of a month per department, agent and cost center is a running sum. The same sums
// of a month and of a day, and the levels, are what [Live.Standing] gives to alerts.
//
// # Definitions
//
// All sums are plain sums over rows of usage_raw. Calls is the sum of calls, so
// a void takes one away. Errors is the sum of calls of rows whose status is
// error; Unpriced the sum of calls of rows without a cost; LatencyMS the sum of
// calls times latency. A combination whose sums are all zero, such as a call
// and its void, is not listed.
//
// # When things fail
//
// A process that dies loses its fold and rebuilds it; the totals are those of
// the ledger's position, and the writer's next commit continues from there. A
// commit reported twice is counted once, by its position. While the rebuild
// runs, or if it fails, readers are served from the rollups as of the rollups'
// position, which the answer names; decisions answer unavailable, because a
// decision on old totals is a guess. If the warehouse is away, live months and
// decisions still answer and history returns schemas.ErrUnavailable. A tenant
// with more combinations than the limit keeps exact totals; its breakdowns are
// then read from the rollups, which have no such limit. One with more departments,
// agents and cost centers than FoldLimits.NamesPerTenantMax keeps those that came
// first exact; a decision by the budget of a later one is unavailable rather than
// wrong. Levels are what a runtime last reported: between two reports, agents and
// sessions that were created since are not seen.
package aggregate

// Package export promises a tenant everything that is held about it, in one document
// that other programs can read, with what proves that it is whole.
//
// # Sections, in the order in which they are written
//
//	tenant         its record in the registry
//	configuration  plan, quotas as they hold and as they were set, budgets, isolation
//	members        people with role and e-mail
//	invitations    open and past ones
//	keys           names, permissions and times; never a secret or its hash
//	audit          what was decided about the tenant, oldest first
//	agents         each agent: since when, until when, calls, tokens, cost
//	costs          calls, tokens and cost per month and model
//	messages       every event that counts, with its price and place on the log
//	conflicts      events that came with an id that was taken, as they came
//	quarantine     what could not be read or judged, as it came
//	manifest       format, version, time, position, and per section how many records
//	               and a SHA-256: over each record as compact JSON and a line feed
//
// Agents, costs and messages are as of one position of the log, so their sums agree.
//
// # Formats
//
// [JSON] is one document, described by schemas/export.schema.json. [NDJSON] has a line
// {"section", "record"} per record and the manifest as its last line. [Zip] has a file
// of lines per section, whose SHA-256 is the manifest's, and manifest.json. All three
// are streamed: memory does not grow with the tenant.
//
// # When things fail
//
// The manifest comes last, and only when everything before it was written: a document
// without one is not whole. Nothing is kept of an export that failed; ask again. A
// text that is not UTF-8 has the replacement character where it is not.
package export

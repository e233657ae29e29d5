// Package httpapi promises that no handler runs without a scope that
// authentication made, and that every refusal looks the same: an RFC 9457 problem
// with a stable code.
//
// A [Server] is a table of routes. [Server.Handle] takes the permission that a
// route needs and a [Handler], which receives the caller's [tenancy.Scope]; there
// is no way to add a route of ours without one, and a path that is not in the
// table is 404. Paths are matched as they are: one that is not in its shortest
// form (//, /../, a slash at the end) is 404 too, rather than a redirect to what
// a proxy in front may have judged differently. Routes for callers that sign
// their requests in another way, such as a payment provider's webhook, are added
// with [Server.HandlePublic] and listed as such.
//
// [Config.Limit] counts every authenticated request, whatever comes of it, and a
// tenant's answers say how it stands (RateLimit, RateLimit-Policy); one too many
// is 429 with Retry-After, before its body is read.
//
// Around each handler: a request id, the caller's address, a limit on time, a
// recovery from panics, counters per route, one log line at debug level. The line
// holds the route and neither path nor query, which may carry what it should not.
//
// A POST may be named by an Idempotency-Key ([IdempotencyConfig]): the same request
// again is answered as before and not served again, for a day. What is kept, and
// where: answers of success, in the memory of this process, bounded in number and
// bytes, because they hold secrets such as new API keys that are on no disk; not
// refusals, which changed nothing. A process that starts again, or a second node,
// knows nothing of them. POST /v1/tenants does without: the registry keeps its keys
// on the log. Events do without too: they have identities.
//
// /livez says that the process runs, /readyz lists named checks, /metrics is for
// Prometheus; these three need no key and say nothing about tenants.
//
// When things fail: an error of a handler becomes a problem by [ProblemOf]. What
// is nobody's fault but ours is a 500 with an incident id; the log line with that
// id has the cause, the answer has not. A panic is the same. When Run's context
// ends, /readyz fails first, new connections are refused, and requests under way
// get Config.DrainMax to finish; what the client did not see answered it sends
// again, which every mutation here allows.
package httpapi

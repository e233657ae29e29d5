// Package ratelimit counts API calls against a limit per minute, and its promise
// is that the count is exact: a tenant that may make n calls a minute and asks as
// fast as it can gets n at once and then one every 60/n seconds, never one more,
// whatever n is.
//
// A [Limiter] holds a token bucket per name. golang.org/x/time/rate would do the
// same with floats, which drift, and with a limiter per name that somebody has to
// forget again; here a bucket that is full is the same as none, so what is kept
// is bounded by who called within the last minutes.
//
// A [State] says how an answer stands towards the limit, and [State.Header] writes
// it as the header fields RateLimit and RateLimit-Policy of
// draft-ietf-httpapi-ratelimit-headers-10.
//
// When things fail: the buckets are in memory. A process that starts again gives
// everybody a full one, and each node of several counts what it is asked. A clock
// that goes back refills nothing until it has caught up.
package ratelimit

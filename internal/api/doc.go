// Package api is the HTTP API over the stages: it asks them, and says the answer
// in JSON.
//
// Promise: a handler reads what its scope may read and nothing else. The tenant
// of a request comes from its key; a key of the platform may name one with
// ?tenant=, by id or slug, and a tenant's own key may name itself. Anything else
// is not found, whether it exists or not. What is about the whole platform is 403
// for the key of a tenant.
//
// An entitlement is asked before a model is called, an agent created, something
// uploaded, a session started; the answer is allow, warn, throttle (models that cost
// nothing) or deny, the limit that led to it, and a sentence for people. A batch of
// 100 answers in order, each by itself.
//
// Money is a decimal string of US dollars, a time is RFC 3339 in UTC, a list is
// read page by page with an opaque cursor. Errors are problems (RFC 9457); see
// package httpapi.
//
// Failure story: a handler holds no state. While the warehouse is being opened or
// is away, questions are answered 503 with Retry-After; events are taken in all
// the same.
package api

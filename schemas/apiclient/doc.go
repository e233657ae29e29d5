// Package apiclient is the HTTP API of Panda in Go.
//
// client.gen.go is generated of schemas/openapi.yaml by oapi-codegen (make generate):
// a method and types for every operation but the probes. What is written by hand are
// [New], which sends a key with every request, [Quantity], a limit that may be
// "unlimited", and that a [Problem] is an error.
//
// Promise: the types are those of the document, and the document is what the server
// answers, which the server's own tests check. A test here says when the generated
// file is older than the document. Money is schemas.Money and exact.
//
// An answer of the API is in the member JSON200 or JSON201 of a response, a refusal
// in ApplicationProblemJSONDefault, and [Answered] turns the two into a value and an
// error. Members of a change that are left out and those that are null are two
// things, so these are nullable.Nullable.
//
// Failure story: a client holds no state and repeats nothing. A request without an
// answer may or may not have been served; send it again with the same
// Idempotency-Key, or for events as it was, and it is served once.
package apiclient

// Package apidoctest holds a server to its own description.
//
// Promise: around the handler of a test, [Checker.Wrap] looks at every exchange. The
// path must be in the document, the status must be one that the operation lists, the
// content type and the required headers must be as described, and the body must
// satisfy the schema, with no member that the schema does not name. A request that
// was accepted must be one that the document allows, so that the document is not
// narrower than the server either. [Checker.Missing] names the operations that were
// never answered with success, for a package that means to cover them all.
//
// It validates with the JSON Schema library that checks events, in the dialect of
// OpenAPI 3.1 (2020-12), rather than with a framework that matches paths in its own
// way: here they are matched by http.ServeMux, as the server does it.
//
// Failure story: what differs is an error of the test, with the exchange and the
// place in the schema. Bodies larger than a bound are passed on and not looked at.
package apidoctest

// Package apidoc serves the description of the HTTP API: schemas/openapi.yaml as it
// is, and a page for people that is made of it.
//
// Promise: the page says what the document says and nothing else, so the two never
// differ. It is one answer with everything in it: it loads nothing, from here or
// from elsewhere, works without a network, and its Content-Security-Policy allows
// its own style and script by their hashes and nothing more.
//
// That the document is true is not this package's promise but that of its
// neighbour apidoctest, which tests put around a server: it holds every answer,
// and every request that was accepted, against the document.
//
// Failure story: the document is part of the program, and a test reads it. One that
// cannot be read makes [Parse] return an error, which ends the start of the
// process; there is nothing that could fail later.
package apidoc

// Package runtime publishes as an agent runtime does that has a NATS client and an
// API key and nothing else of panda.
//
// Promise: what Publish acknowledges is on the log; the client waits out a server
// that is away, and connects again by itself.
//
// Failure story: an error of Publish means that the message may or may not be on
// the log; the same message may be sent again. A server that says for good that
// the key is wrong closes the connection, and every later Publish says so.
package runtime

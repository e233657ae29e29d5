// Package schemas holds Panda's vocabulary: what an event, a token bucket, an
// amount of money, a price and a window are, what they are called on the wire
// and in SQL, and which limits they keep.
//
// Promise: the same noun means the same thing in every stage. Two stages that
// must agree on a word find it here and nowhere else, so they never import
// each other. The package imports the standard library only; it holds no
// clock, no disk, no network.
//
// Three ideas carry the rest:
//
//   - Usage is a set of disjoint [Tokens] buckets. No token is in two of them,
//     so a total is a plain sum and a price is one multiplication per bucket.
//   - [Money] is a whole number of pico-USD. No float ever touches usage or
//     money; an amount that does not fit is an error, not a rounding.
//   - An event's identity is (tenant, source, id), its content is everything
//     else. A resend is the same identity with the same content; a conflict is
//     the same identity with other content.
//
// Failure story: nothing here can fail half-way. Bad input comes back as an
// error that matches [ErrInvalid] and names the field by JSON pointer; a broken
// invariant inside a pure function panics with a sentence.
package schemas

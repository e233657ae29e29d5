// Package auth promises that nobody gets a [tenancy.Scope] without a key that
// works at this moment, and that a key's secret is seen once, by the person it
// was made for.
//
// A key reads
//
//	panda_<id, 8 of a-z2-7>_<256 random bits, 43 of base64url><checksum, 6 of base62>
//
// 64 characters, recognisable by secret scanners. The id finds the key in the
// registry, the checksum tells a typing error or a cut-off copy without looking
// anything up, and what is stored is the SHA-256 of the whole. A secret of 256
// random bits cannot be guessed, so the hash needs neither salt nor slowness.
//
// Over HTTP a key comes as "Authorization: Bearer <key>" and in no other way. A
// key in a query string ends up in the logs of everything between here and the
// caller, so it is refused, even when it would be good, and reported by its id.
//
// Every refusal is an [*Error] that matches one of ErrUnauthenticated (401),
// ErrForbidden (403) and ErrTooManyFailures (429). Failures are counted per
// address; beyond the limit the answer is 429 and nothing is logged any more. A
// good key is let in from any address at any time: the limit sheds noise, it is
// not what keeps the secret, and one agent with an old key must not shut out its
// neighbours behind the same address.
//
// When things fail: until the registry has caught up once, every request is
// schemas.ErrUnavailable (503), never "unknown key". While the log is out of reach
// the registry answers from what it last knew. A key that was revoked stops
// working as soon as the event is folded, within a second, and nothing caches a
// Scope for longer than one request.
package auth

// Package auth promises that nobody gets a [tenancy.Scope] without a key or a
// sign-in that works at this moment, and that a key's secret is seen once, by the
// person it was made for.
//
// # Keys
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
// # People
//
// People sign in at an identity provider and send its token in the same header.
// Package oidc says who a token speaks for; the registry says, at every request,
// which member of which tenant that is and in which role. A token carries no rights
// of its own: the provider's roles are not read, and an address counts only if the
// provider has verified it. So a member who is removed, or gets another role, is so
// from the next request on, however long the token lives. Who is signed in and is no
// member gets 403, because signing in again would change nothing.
//
// An invitation travels by mail as a signed token ([Invitations]). It names the
// invitation and ends by itself; whether it was used or taken back is the registry's
// to say.
//
// # Refusals
//
// Every refusal is an [*Error] that matches one of ErrUnauthenticated (401),
// ErrForbidden (403) and ErrTooManyFailures (429). Failures are counted per
// address; beyond the limit the answer is 429 and nothing is logged any more. A
// good key or token is let in from any address at any time: the limit sheds noise,
// it is not what keeps the secret, and one agent with an old key must not shut out
// its neighbours behind the same address. Neither keys nor tokens are ever logged.
//
// # When things fail
//
// Until the registry has caught up once, every request is
// schemas.ErrUnavailable (503), never "unknown key". While the log is out of reach
// the registry answers from what it last knew. A key that was revoked stops
// working as soon as the event is folded, within a second, and so does a member who
// was removed; nothing caches a Scope for longer than one request. While a provider
// is away, package oidc says which tokens go on working; keys do not notice.
package auth

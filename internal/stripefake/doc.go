// Package stripefake is a Stripe of one's own: it answers the calls that Panda makes as
// Stripe's documentation says Stripe does, keeps what it was told, and goes wrong on
// request. Its promise is that a client which charges exactly once against it, under
// every fault it knows, follows the documented rules; it is no proof about Stripe itself.
//
// The API is that of version 2023-10-16, the one that stripe-go v76 speaks. What stands
// behind a rule is named beside it: "spec" is Stripe's OpenAPI document of that version,
// a path is a page under docs.stripe.com, owner/name#n a public thread in which it was
// met. A rule marked "assumed" has no such source.
//
// # The way of a request
//
//	key known? ── version? ── rate limit ── parameters ── idempotency ── execution ── answer
//	                                        not stored ◄─┤               stored, errors too
//
// Everything up to the idempotency layer is forgotten when it is answered; whatever
// began to execute is stored under its Idempotency-Key, a 500 or a lock_timeout as well,
// and comes back word for word for 24 hours ([/api/idempotent_requests]). Live and test
// mode are two worlds that share nothing; the key's prefix says which one is meant.
//
// # Time
//
// Config.Now is the clock; a customer on a test clock lives by that one. What time does
// (a subscription that renews, a draft that is finalized, an event that is forgotten)
// happens before the next request is answered, or when [Server.Pump] is called, which
// also delivers webhooks.
//
// # Faults
//
// [Faults] decides by a hash of its seed, the request's idempotency key and how often
// that key has come, so a run repeats itself whatever the goroutines do. A request can be
// lost before or after it took effect, be answered by a 500 that is remembered, wait so
// long that its sender has given up, or meet the limiter. Deliveries can be lost, come
// twice, late, and in another order.
//
// # What is not in it
//
// Taxes, discounts, coupons, proration, payment intents, credit notes, Connect, search,
// meters. A parameter that the fake does not know is refused, as Stripe refuses one.
//
// Nothing is kept on disk: a fake that is closed has forgotten its accounts.
package stripefake

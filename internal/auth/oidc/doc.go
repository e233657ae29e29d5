// Package oidc promises that a bearer token that [Verifier.Verify] accepts was
// signed by one of the configured issuers, for us, and is valid at this moment,
// and that everything in the [Identity] comes from what was signed.
//
// A token is a JWT (RFC 7519) in the compact form of RFC 7515, as OpenID Connect
// providers issue it. It is looked at in this order, and the first thing that is
// wrong ends it:
//
//	size and form    three parts of strict base64url, at most TokenBytesMax
//	header           RS256, ES256 or EdDSA; no key and no place to get one from
//	                 (jwk, jku, x5c, x5u), nothing critical, and the type of a token
//	                 that says who somebody is
//	issuer           one of those configured, by exact comparison
//	key              the key id is looked up among the issuer's keys, as a text and
//	                 never as a path or address; a key has one algorithm
//	signature
//	claims           times, audience, authorised party, subject, organisation
//
// So who cannot sign learns nothing beyond which issuers and key ids are known.
// Names of claims are compared with case, and a claim that is there twice is
// refused, because two readers of one token must not see two people.
//
// The organisation is the claim o.id (Clerk, version 2) or org_id (version 1 and
// other providers). A token that carries both must say the same in both. A token
// without one is somebody who acts for no organisation.
//
// # Keys
//
// The keys come from the issuer's JWKS endpoint, whose address is configured or is
// in the issuer's discovery document; both are read over TLS unless the issuer is
// this machine, without following redirects, within a time and a size. [Verifier.Run]
// reads them every RefreshEvery. A key id that is not known causes one more read,
// at most one per RetryEvery however many tokens ask for it, so nobody can use us
// to flood the issuer.
//
// The JOSE library is go-jose: it is what go-oidc is built on, its JSON decoder
// refuses repeated names, and it leaves the fetching of keys to us. go-oidc's own
// key set has no limit on size and fetches for every token whose key is unknown.
//
// # When things fail
//
// While an endpoint cannot be reached, or answers with something that is not a set
// of usable keys, the keys known before go on working and every other key is
// refused. After KeysAgeMax without a good answer they stop working too: a key that
// was withdrawn must not live for as long as somebody blocks the endpoint. Then,
// and before the first answer, Verify says schemas.ErrUnavailable and never that a
// token is bad. Nothing is stored; a restart reads everything again.
package oidc

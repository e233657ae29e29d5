// Package tenancy promises that there is one answer to "who is this tenant, and
// what may this key do", that the answer follows every decision within a second
// on every node, and that no code reads a tenant's data without a [Scope].
//
// What people decide about tenants and keys are events on stream CONTROL, each
// with actor, address, time and what it changed. That stream is the audit log.
// The [Registry] is its fold: a pure function of the stream's order, so every
// node that read as far has the same tenants and keys. The registry has no state
// of its own to lose.
//
//	control.slug.<slug>               tenant.created
//	control.tenant.<tenant id>        tenant.updated, tenant.erased
//	control.members.<tenant id>       members.changed: members and invitations
//	control.alerting.<tenant id>      alerting.changed: channels and mutes; the platform's
//	control.alerting.platform         under its word
//	control.key.<tenant id>.<key id>  key.created, key.rotated, key.revoked
//	control.key.platform.<key id>     the same for keys of the platform
//	control.attempt.<tenant id>       attempt.refused; nothing is folded of it,
//	control.erasure.<tenant id>.<id>  or of the certificates of erased users
//
// What a tenant may have is its plan's (schemas/plans.yaml) with its own limits in
// their place. All changes of a tenant's members come one after the other on one
// subject, each compared with the one before, so that two nodes cannot take away the
// last owner together.
//
// Nobody gives away more than they have: a key with admin makes keys of its own tenant
// with scopes that it has itself, and members whose role may do no more. No key of a
// tenant has owner, and keys of the platform are made at the first start alone.
//
// What was refused is kept for 90 days, and the newest 10,000 of a tenant
// ([TrimAttempts]); what was done is kept for good.
//
// An erased tenant is its id and the certificate of its erasure. That record stands
// alone: those before it are taken from the log.
//
// # One slug, one tenant
//
// tenant.created is itself the claim of its slug: it is appended to the slug's
// own subject with a compare-and-set on what that subject held (nothing, as a
// rule). Claim and creation are one record, so there is no moment at which a slug
// is taken and its tenant is missing, and nothing to clean up after a crash.
// Of two nodes that create the same slug at once, the log lets one through.
//
// A create carries its Idempotency-Key and a hash of its content. Sent again, it
// finds the tenant that it made, whether the answer was lost before or after the
// append. The same key with other content is refused; should two nodes race
// with it, the fold accepts the first in the order of the log and passes over
// the other on every node alike, and its slug stays free.
//
// # When things fail
//
// A node that cannot reach the log goes on answering from what it knows, and
// retries; it learns of a revocation late, which is why readiness asks the log as
// well. Until the first catch-up it knows nothing and says ErrUnavailable, never
// "unknown key". A change whose acknowledgement was lost is ErrUnavailable: it
// may have happened; sending it again is harmless. An event of a version this
// binary does not know ends Run, because guessing could give access.
package tenancy

// Package contact holds how people want to be told of alerts: their channels, quiet
// hours, digests and what is muted. Its promise is that what is kept is whole and can be
// acted on, and that a secret is never kept in the clear or shown.
//
// A [Channel] is one way to tell somebody, of a tenant or of the platform. Its address
// and its secret are sealed with a [Key] that the nodes of a deployment share and the
// log does not hold; who reads the log, a backup of it or an export finds the address
// without what proves who sends, and of an address that is a secret itself (Slack's) the
// host alone. What is sealed is bound to the tenant and the channel, so that it opens
// nowhere else.
//
// [Settings] are all of a tenant's, as one value; package tenancy keeps them as events.
// All of it is pure: no clock, no disk, no net.
//
// When things fail: a key that was changed opens nothing that an older one sealed. Open
// says so, and the secret has to be given again.
package contact

// Package oidctest promises a real OpenID Connect provider for tests: the
// certified implementation of github.com/zitadel/oidc on a loopback port, with
// discovery, keys, and tokens that come out of the authorization code grant with
// PKCE, as a browser and an application walk through it.
//
// A [Provider] can change its keys, and a test can sign with them what no provider
// would sign, or stand in front of its endpoints to break them.
//
// When things fail: whatever the provider answers that is not as it should be
// fails the test that asked. The users, codes and keys are in memory and end with
// the test.
package oidctest

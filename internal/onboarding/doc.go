// Package onboarding holds the templates a new tenant can start from, and makes the
// sample conversations that show what the numbers look like.
//
// Promise: a template is configuration and nothing else. Its agents, skills and
// widgets are a document for the runtime and the dashboard that carry them out; this
// product records the number of agents, which the next sample of the runtime replaces.
// Sample conversations are real events through the usual door, but they are messages
// without tokens, units or money: no price list, plan or overage can bill them, and
// they use up no quota of tokens. Each is tagged sample=true.
//
// The events of a template are a function of its version, the tenant's creation time
// and a generation, ids included. So provisioning twice counts once; and what was
// taken back by voids, whose ids are taken for ever, comes again as the next
// generation.
//
// Failure story: nothing here touches a log or a clock. A broken template is an error
// of the build, found by a test.
package onboarding

// Package eventlogtest opens real event logs for tests: Open gives a server in
// the test's process on a temporary directory, Cluster one of three servers that
// talk over loopback. Run is the suite both must pass.
//
// Nothing here is a stand-in. A test that fails against these fails against what
// production runs.
package eventlogtest

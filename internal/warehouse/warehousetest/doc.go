// Package warehousetest gives tests a real warehouse: the embedded engine, one
// child process per test binary, one database per test.
//
// A package that uses it needs
//
//	func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }
//
// because the engine's child is the test binary itself, started again with an
// environment variable. Then Open(t) is a fresh, empty database, dropped at the
// test's end, and OpenDir an engine of the test's own on a directory.
//
// Run is the conformance suite: what a warehouse must do to be one.
//
// There is no skipping: without the engine's library the tests fail and say how
// to get it (`make engine`).
package warehousetest

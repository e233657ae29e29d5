//go:build !unix

package client

import "os"

// lockFile does nothing here: the standard library has no lock for this system.
// Two processes on one spool would send each other's events again, which the
// server recognises, and may report damage that is none.
func lockFile(*os.File) error { return nil }

// Package faultfstest mounts a faultfs.FS for a test and takes it away after it.
//
// A test on a machine that cannot mount one (no root, no /dev/fuse) is skipped,
// and says which of the two was missing; any other failure to mount fails it.
package faultfstest

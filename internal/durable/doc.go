// Package durable promises that a file which was made, renamed or removed is so after a
// power failure too: a file's own fsync keeps its content, and the directory's keeps its
// name.
//
// When things fail: an error of the disk is returned, and the name may or may not be
// there after a power failure. Doing it again is harmless.
package durable

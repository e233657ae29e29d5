// Package engine is the server inside the process `panda engine`: ClickHouse's
// engine, loaded from libchdb.so without cgo, behind ClickHouse's HTTP
// interface on a unix socket.
//
// Its promise: a statement that was answered with success was done, and one
// that failed is never answered with an empty success.
//
// It is a process of its own because the library owns signal handlers, memory
// and threads that a Go program should not share, and because one data path
// belongs to one process. The parent (package warehouse) starts it, watches it
// and speaks to it as to any ClickHouse server.
//
// Two doors:
//
//   - the unix socket, mode 0600 in a directory of mode 0700: everything, for
//     the parent. The embedded engine has no users; the file mode is the guard.
//   - optionally a loopback TCP address with a token: reading only. The fence
//     is in fence.go: one statement of a known reading kind, no function that
//     reaches files, network or processes, and the engine's own readonly=1.
//
// Statements run each on a connection of the engine that no other statement
// uses at the same time. Connections are pooled by the settings they carry, so
// a setting of one request is never seen by the next; one whose session a
// statement may have changed (SET, USE, TEMPORARY) is closed after it.
//
// What fails: a query over the memory limit gets ClickHouse's code 241; a
// client that goes away has its query killed; the parent's death ends the
// process; a crash of the library loses no answered insert, because the tables
// fsync on insert and the log replays what was not answered. A second engine on
// one data directory refuses to start (ErrDataDirInUse).
package engine

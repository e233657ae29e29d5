// Package warehouse is the only place, with its subpackages, that knows
// ClickHouse: how it is started, spoken to, inserted into and migrated.
//
// Its promise: an Insert or Exec that returned nil is on disk and survives the
// engine's death; one that returned an error may or may not have happened, and
// its caller writes the same rows again, which the tables collapse. A Query that
// returned rows and a nil Err returned all of them.
//
// There are two warehouses behind one DB:
//
//   - embedded (Config.URL is empty): ClickHouse's engine in a child process,
//     `panda engine` (package engine), spoken to over a unix socket. A watchdog
//     pings it and starts it again when it died or hangs.
//   - external: a ClickHouse server or cluster at Config.URL, over HTTP or the
//     native protocol. With Config.Cluster, migrations make replicated tables.
//
// Both are spoken to with clickhouse-go; inserts over HTTP are encoded here as one
// native block from whole slices, because that is several times cheaper than rows.
//
// What every connection is told, and Open asserts, is in settings.go: the
// engine's own insert deduplication and asynchronous inserts are off, because
// what is new is decided by the log, and a silent "already had that" would lose
// events.
//
// What fails: while the engine restarts (some seconds after a crash or a hang),
// calls return an error that matches schemas.ErrUnavailable at once instead of
// waiting. A call that was under way when it died returns the same. Errors that
// the engine itself gave have its code (Code) and match ErrUnavailable only if
// the same statement may succeed later.
//
// A disk that fails or is full is for a caller the same: ErrUnavailable, and the same rows
// again later. The engine itself passes over failed writes of an insert's files, and does
// not fsync the directory of a table; package engine looks at every part before an
// insert is answered, sets a short one aside, and fsyncs the directories. What a merge
// writes is not looked at: there the checksums speak when it is read.
package warehouse

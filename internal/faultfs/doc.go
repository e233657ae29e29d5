// Package faultfs does to real processes what failing disks and power cuts do:
// what a process wrote and did not fsync is gone, an fsync fails or takes long,
// the disk is full, a bit has flipped, and a process dies exactly before a
// rename.
//
// It is a FUSE file system over a backing directory, for tests and the torture
// tool, on Linux, as root. Programs need no change: their files lie under the
// mount point. Nothing of the product imports it.
//
// # The model
//
// A write reaches the backing directory at once, as a write reaches the page
// cache of a kernel, so that every reader sees it and a killed process loses
// nothing. Beside it, each file keeps what a disk would still hold: the old
// content of every 4 KiB page written since the last fsync, and the old size.
// fsync and fdatasync drop these notes: the file is durable. PowerCut freezes the
// mount, puts the old pages back and leaves in the backing directory what a disk
// would hold; Remount shows it. This is the model of LazyFS (Ramos et al., "When
// Amnesia Strikes: Understanding and Reproducing Data Loss Bugs with Fault
// Injection", VLDB 17(11), 2024), with its torn writes: with Torn, each unsynced
// page survives or not by the seed, overwritten pages also up to a sector of 512
// bytes, and of an unsynced tail a random prefix or random pages survive, the rest
// of them zeros, as after ext4 and XFS have converted some extents and not others.
//
// Names (create, link, rename, unlink, mkdir, rmdir) have two models:
//
//   - Journaled, the default, is ext4 with data=ordered, and XFS: changes of names
//     are durable in the order they were made. An fsync writes the journal up to the
//     last change that has to do with the file or directory: one that made, linked,
//     moved or unlinked it, or an entry of it; and up to its end if the file's size
//     has changed. (Both commit more, the rest of the running transaction; nobody may
//     count on that.) So does the passing of CommitEvery (ext4's commit interval,
//     5 s). At a cut without Torn all changes survive; with Torn those that are
//     durable and a random prefix of the others.
//   - Strict is what POSIX promises: a change of names is durable once its
//     directory was fsynced. As in ext4's ext4_sync_parent (fs/ext4/fsync.c), the
//     fsync of a file just created covers its entry, and those of directories
//     above it that are new as well. A rename is one change: the fsync of either
//     directory makes it durable. At a cut every other change is undone.
//
// A failed fsync (FailSync) is what Linux makes of one since 4.13 (Rebello et
// al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020): the error
// is said once, the pages count as clean and stay readable, no later fsync
// writes them again, and the power cut loses them. Written anew and fsynced,
// they are durable.
//
// # What it does not do
//
// Modes, owners, times and extended attributes are durable at once. sync(2) and
// syncfs(2) make nothing durable, because the kernel does not tell a FUSE file
// system of them; nor does sync_file_range, which is no promise on a disk either.
// A page dirtied through a shared writable mapping is seen when the kernel writes
// it back, which an fsync makes it do; so the books stay right. Fsync does not
// reach the backing disk: the power cuts here are our own.
//
// # Failure
//
// An operation that the backing directory refuses fails with that error. After a
// cut the old mount answers EIO to everybody, for good. If the process that serves
// the mount dies, its users get ENOTCONN and the next Mount takes the mount point
// over; the backing directory then holds what was written, as after a kill, and
// not what a power cut leaves.
package faultfs

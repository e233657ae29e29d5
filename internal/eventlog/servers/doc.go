// Package servers runs a cluster of three log servers as processes of their own,
// so that tests and the torture tool can do to them what machines and networks do:
// kill one, stop it, cut it off in one direction, take its disk away. Its promise
// is that these are the servers that production runs, each with every write
// fsynced, and that a fault hits only what it names.
//
//	panda ── link ──┐                    ┌── link ── panda
//	                ├─ server 0 ─────────┤
//	                │    │link   │link   │          every line is a Link of this process:
//	                ├─ server 1 ─ link ─ server 2   two directions, each can be cut
//
// [Serve] is one server in the present process; a program that has it as a
// subcommand, or a test binary in a child's role, is what [Start] wants as its
// argument vector. [Cluster] owns the processes and the links. Servers reach each
// other and clients reach servers through links alone: what servers tell each
// other about further addresses leads nowhere.
//
// Where a server stands is asked of the server itself, over its standard input and
// output, so it answers while it is cut off. What it holds is read from its store
// on disk while it is dead ([ReadStore]): [Cluster.SameCopies] compares replicas,
// and not three answers of one leader.
//
// When things fail: a server whose parent is gone sees the end of its input and
// ends. Close continues what is stopped and kills everything; a parent that is
// killed while a server is stopped leaves that server behind, stopped.
package servers

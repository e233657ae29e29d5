// Package eventlog promises that a message it acknowledged is on disk, in one
// order, and can be read again from any position until its retention ends.
//
// It is the only package that knows NATS. A [Log] is either a server inside
// this process (Config.URL is empty: file store, every write fsynced, no port
// unless Config.Listen names one) or a client of a JetStream cluster. Both pass
// the same suite, eventlogtest.Run.
//
// Four kinds of state live here:
//
//	streams    Append and Read: USAGE (the book of record), CONTROL (what people
//	           decided), DECISIONS (facts that may exist once, see Decide)
//	buckets    the last value of a key, with compare-and-set
//	leases     one holder of a name at a time, with a fencing token
//	nudges     Notify and Subscribe: may be lost, so nothing may depend on them
//
// Runtimes of tenants may publish over NATS too, if Config.Listen opens a port.
// Each tenant has a broker account of its own, out of which one service leads:
// store this payload as usage.<tenant>. Nothing else of a message, neither its
// headers nor its reply subject, reaches the log. Config.Admit is asked for each
// message and says no by a Refusal. A tenant may have so many messages on the way,
// and a few of them are stored at a time, so that its flood takes turns with others.
//
// The acknowledgement is the commit point. It is sent after the write reached
// the disk (one server) or the disks of a majority (a cluster). An Append that
// ends in ErrUnavailable may or may not be stored: send it again with the same
// ID. The broker's window of remembered ids is only a cheap filter for such
// repeats; when it calls a message a duplicate of a record that holds something
// else, the message is stored all the same, because telling events apart is the
// reader's work and losing one is not.
//
// When things fail: a server that dies keeps what it acknowledged, and Open
// finds it again. A reader whose consumer, connection or server goes away makes
// a new consumer after the last record it handed out, so it neither skips nor
// repeats; if those records are gone for good, it says so with ErrTruncated
// rather than going on. A server of a cluster that is cut off from the others
// acknowledges nothing, and after Config.AckTimeout the client leaves it. A full
// stream refuses new messages with ErrFull and keeps the old. Callers watch Space and refuse before the disk is full.
//
// A write or fsync that fails, and a full disk, end a stream of the server inside this
// process for good: it answers nobody then. So the server is watched for what it says of
// its store; from then on appends fail at once with the reason, and Healthy names it. The
// server is started again in place, on the same store, port and lock, with a growing
// pause and not before there is room, and readers, leases and runtimes come back to it.
// Before a store is opened, its newest blocks are written over and fsynced, because what
// a killed server or a failed fsync left is readable and not yet durable; and they are
// held against their checksums, because the server would take damage in the middle for a
// torn end and drop all that follows. Such a store is ErrDamaged and is not opened.
// Older blocks are not read at the start: damage there is met when they are read.
//
// A holder that loses touch with the broker stops believing in its lease before anyone
// else may take it.
package eventlog

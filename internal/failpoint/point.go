package failpoint

import "slices"

// A Point is a moment in the program, by the name that PANDA_FAILPOINT uses.
type Point string

// The crash points, in the order of the data.
const (
	ClientBeforeSpool Point = "client_before_spool"
	ClientAfterSpool  Point = "client_after_spool"

	GatewayBeforeAppend Point = "gateway_before_append"
	GatewayAfterAppend  Point = "gateway_after_append"

	ControlBeforeAppend Point = "control_before_append"
	ControlAfterAppend  Point = "control_after_append"

	LeaseTaken           Point = "lease_taken"
	WriterJudged         Point = "writer_judged"
	WriterClaimed        Point = "writer_claimed"
	WriterRowsWritten    Point = "writer_rows_written"
	WriterKeysWritten    Point = "writer_keys_written"
	WriterRejectsWritten Point = "writer_rejects_written"
	WriterBeforeCommit   Point = "writer_before_commit"
	WriterLeaseChecked   Point = "writer_lease_checked"
	WriterCommitted      Point = "writer_committed"

	LiveRebuilt        Point = "live_rebuilt"
	RollupHours        Point = "rollup_hours"
	RollupDays         Point = "rollup_days"
	RollupBeforeRecord Point = "rollup_before_record"
	JobBeforeRecord    Point = "job_before_record"

	MoveBegun    Point = "move_begun"
	MoveCopied   Point = "move_copied"
	MovePaused   Point = "move_paused"
	MoveVerified Point = "move_verified"
	MovePlaced   Point = "move_placed"
	MoveCleaned  Point = "move_cleaned"

	ErasureRecorded  Point = "erasure_recorded"
	ErasureMarked    Point = "erasure_marked"
	ErasureTable     Point = "erasure_table"
	ErasureForgotten Point = "erasure_forgotten"
	ErasureLog       Point = "erasure_log"
	ErasureDone      Point = "erasure_done"
	ErasureCertified Point = "erasure_certified"
)

// The rare paths.
const (
	EnvelopeKnown        Point = "envelope_known"
	BrokerIDTaken        Point = "broker_id_taken"
	BatchConflictStored  Point = "batch_conflict_stored"
	EventRejected        Point = "event_rejected"
	CommitAnswerLost     Point = "commit_answer_lost"
	LeaseLostBeforeWrite Point = "lease_lost_before_commit"
	FilterGuessedWrong   Point = "filter_guessed_wrong"
	KeyBeyondLedger      Point = "key_beyond_ledger"
	RangeRepeated        Point = "range_repeated"
	DuplicateFound       Point = "duplicate_found"
	ConflictFound        Point = "conflict_found"
	VoidTwice            Point = "void_twice"
	VoidUnknown          Point = "void_unknown"
	MessageUnreadable    Point = "message_unreadable"
	LateEvent            Point = "late_event"
	WriteRetried         Point = "write_retried"
	ClaimFollowed        Point = "claim_followed"
	RangeRestored        Point = "range_restored"
	EngineRestarted      Point = "engine_restarted"
	EngineHung           Point = "engine_hung"
	SpoolResent          Point = "spool_resent"
	SpoolTorn            Point = "spool_torn"
	LogReopened          Point = "log_reopened"
)

// Process says in which program a point lies.
type Process string

// The processes.
const (
	InPanda  Process = "panda"
	InClient Process = "client"
	// InErasure: the server, when somebody is erased, which nobody is while everything
	// else is broken.
	InErasure Process = "erasure"
	// InCheck: the harness sees it in the tables at the end of a round.
	InCheck Process = "check"
)

// Info says what a point is for.
type Info struct {
	Point Point
	// K is the number in the list of crash points, "" for a rare path.
	K string
	// Means is where the program is then, or what led there.
	Means string
	// Must is what has to be true after a death at a crash point, or why a rare
	// path is right.
	Must string
	// In is the process that passes it.
	In Process
}

// Crash reports whether it is a crash point, not a rare path.
func (i *Info) Crash() bool { return i.K != "" }

// Points returns all points: crash points in the order of the data, then rare
// paths.
func Points() []Info { return slices.Concat(crashPoints(), rarePaths()) }

// Lookup finds a point by its name.
func Lookup(p Point) (Info, bool) {
	for _, i := range Points() {
		if i.Point == p {
			return i, true
		}
	}
	return Info{}, false
}

func crashPoints() []Info {
	return []Info{
		{ClientBeforeSpool, "K1", "a client has an event and its spool has not", "the recorder was told nothing; the event may be absent", InClient},
		{ClientAfterSpool, "K2", "the event is in the spool, the recorder has no answer", "the next client sends it; it counts once", InClient},
		{GatewayBeforeAppend, "K3", "a batch is judged and not on the log", "no answer was given; the sender sends again", InPanda},
		{GatewayAfterAppend, "K4", "a batch is on the log, the sender has no answer", "the repeat is a duplicate, whole or regrouped", InPanda},
		{ControlBeforeAppend, "K3", "a change of tenants or keys is decided and not on the log", "it has not happened; nobody was told that it had", InPanda},
		{ControlAfterAppend, "K4", "a change of tenants or keys is on the log, nobody knows", "it stands after the restart", InPanda},
		{LeaseTaken, "K22", "the writer holds the lease and has read nothing", "the next one takes over; no range is lost or skipped", InPanda},
		{WriterJudged, "K8", "a range has its verdicts and nothing is written", "the repeat gives the same verdicts", InPanda},
		{WriterClaimed, "K8", "where the range ends is decided, and little or nothing is written", "whoever goes on ends the range there", InPanda},
		{WriterRowsWritten, "K9", "rows are in the table, keys may not be", "the repeat writes exact copies, which collapse", InPanda},
		{WriterKeysWritten, "K11", "keys are in the table, rows may not be", "keys beyond the ledger are not known; the events still count", InPanda},
		{WriterRejectsWritten, "K11", "rejects are in the table, rows and keys may not be", "the repeat writes exact copies, which collapse", InPanda},
		{WriterBeforeCommit, "K12", "everything of a range is written but its ledger row", "the repeat finds it all and commits", InPanda},
		{WriterLeaseChecked, "K22", "the lease was found valid and the commit is not sent", "who goes on later commits the same row, because the claim says where it ends", InPanda},
		{WriterCommitted, "K13", "the ledger row is written, memory does not know", "the range counts; the restart reads on behind it", InPanda},
		{LiveRebuilt, "K8", "live totals are rebuilt and nothing is written yet", "no side effects; the next start rebuilds the same totals", InPanda},
		{RollupHours, "K14", "hours are recomputed, days and months are not", "the position stands still; the pass is made again", InPanda},
		{RollupDays, "K14", "days are recomputed, months are not", "the position stands still; the pass is made again", InPanda},
		{RollupBeforeRecord, "K14", "a pass is done and not recorded", "the pass is made again with the same result", InPanda},
		{MoveBegun, "K23", "a move is begun, its target may hold something else", "the target is emptied; the old place is in force", InPanda},
		{MoveCopied, "K23", "a chunk is copied and not noted", "it is copied again, and the copies collapse; the old place is in force", InPanda},
		{MovePaused, "K23", "counting is paused and the rest is not copied", "counting goes on at the next start; the old place is in force", InPanda},
		{MoveVerified, "K23", "both places hold the same and the change is not on the log", "the old place is in force; the move goes on", InPanda},
		{MovePlaced, "K23", "the change is on the log and counting is paused", "the new place is in force; the old rows are taken away", InPanda},
		{MoveCleaned, "K23", "old rows are gone and the move is not noted as done", "there is nothing left to take away", InPanda},
		{JobBeforeRecord, "K14", "a job is done and its run not recorded", "it runs again; a job is idempotent", InPanda},
		{ErasureRecorded, "K15", "what will be erased is in the table, and nobody looks at it", "nothing is erased; it is planned anew", InErasure},
		{ErasureMarked, "K15", "an erasure counts, and all of it is still stored", "everything agrees without it; the next call completes it", InErasure},
		{ErasureTable, "K15", "a table is erased, others are not", "everything agrees; nothing is restored; the next call completes it", InErasure},
		{ErasureForgotten, "K15", "tables and their files are erased, the log is not", "no replay brings it back; the next call completes it", InErasure},
		{ErasureLog, "K15", "tables and log are erased, the live totals know it", "everything agrees; the next call completes it", InErasure},
		{ErasureDone, "K15", "all is erased, and there is no certificate", "the next call makes it", InErasure},
		{ErasureCertified, "K15", "the certificate is on the log, and so are the registry's records", "the next call erases them", InErasure},
	}
}

func rarePaths() []Info {
	return []Info{
		{EnvelopeKnown, "", "the broker has the same batch already", "nothing is added, the sender gets its acknowledgement", InPanda},
		{BrokerIDTaken, "", "the broker has another message under the same id", "ours is stored without the id", InPanda},
		{BatchConflictStored, "", "one batch holds two events of one id and other content", "both go on the log, the first counts", InPanda},
		{EventRejected, "", "an event is wrong", "it is answered and not stored", InPanda},
		{CommitAnswerLost, "", "the ledger is further than its writer knows: the answer to a commit was lost, or another led", "the writer reads on behind it", InPanda},
		{LeaseLostBeforeWrite, "", "the lease ran out between the writes and the commit", "nothing is committed; the successor writes the same", InPanda},
		{FilterGuessedWrong, "", "the filter said perhaps, and the key was new", "the event counts", InPanda},
		{KeyBeyondLedger, "", "a key is stored whose range was never committed", "it is not known; the event counts", InPanda},
		{RangeRepeated, "", "a range was written twice, and both copies are in the table", "exact copies collapse", InCheck},
		{DuplicateFound, "", "an event was accepted before", "it is counted as a duplicate only", InPanda},
		{ConflictFound, "", "an id was accepted with other content", "the first counts, this one is listed", InPanda},
		{VoidTwice, "", "an event is taken back that was taken back", "the second is quarantined", InPanda},
		{VoidUnknown, "", "an event is taken back that never came", "it is quarantined", InPanda},
		{MessageUnreadable, "", "a message on the log cannot be read", "it is quarantined whole, its neighbours count", InPanda},
		{LateEvent, "", "an event arrives long after it happened", "it counts, and its windows are recomputed", InPanda},
		{WriteRetried, "", "a write failed and the writer takes up at the ledger again", "recovery is the normal path", InPanda},
		{ClaimFollowed, "", "a range was claimed, and its commit not found", "the next commit ends where the claim says", InPanda},
		{RangeRestored, "", "a committed range was not whole in the tables", "it is written again from the log", InPanda},
		{EngineRestarted, "", "the engine died and is back", "statements under way were broken off and are repeated", InPanda},
		{EngineHung, "", "the engine did not answer and was ended", "another takes its place", InPanda},
		{SpoolResent, "", "a client found events in its spool at the start", "they leave with the ids they had", InClient},
		{SpoolTorn, "", "the end of a spool segment is cut off", "what was whole is sent", InClient},
		{LogReopened, "", "a write or fsync of the log failed, or its disk was full", "its server is started again in place; nothing acknowledged is lost", InPanda},
	}
}

package ingest

// EventsIn returns how many verdicts the writer gives for a record: one per
// event, one for a message that cannot be read, none for a price revision. It is
// how the log is held against the ledger.
func EventsIn(r *Record, key []byte) int {
	var b batch
	b.decode(r, key)
	n := len(b.quarantined)
	for i := range b.steps {
		if b.steps[i].revision == 0 {
			n++
		}
	}
	return n
}

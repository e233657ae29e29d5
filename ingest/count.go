package ingest

import (
	"bytes"
	"encoding/json"
	"strconv"
)

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

// CarriesUser reports whether a message of the usage log holds an event of a user. Of
// what cannot be read it says yes if the user's name is in it as JSON writes it.
func CarriesUser(r *Record, key []byte, user string) bool {
	var b batch
	b.decode(r, key)
	for i := range b.steps {
		if e := b.steps[i].event; e != nil && e.User == user {
			return true
		}
	}
	for i := range b.quarantined {
		if NamesUser(b.quarantined[i].Body, user) {
			return true
		}
	}
	return false
}

// NamesUser reports whether a text holds a user's name as a whole string of JSON, in
// any of the ways in which writers escape it.
func NamesUser(text []byte, user string) bool {
	plain := strconv.Quote(user)
	escaped, err := json.Marshal(user)
	if err != nil {
		escaped = []byte(plain)
	}
	ascii := strconv.QuoteToASCII(user)
	for _, form := range []string{`"` + user + `"`, plain, string(escaped), ascii} {
		if bytes.Contains(text, []byte(form)) {
			return true
		}
	}
	return false
}

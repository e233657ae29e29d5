package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// TestJobLease: a job is not run beside one that runs elsewhere, and is run in place of
// one whose node was killed, by whoever asks once, however short the job's schedule is.
func TestJobLease(t *testing.T) {
	t.Parallel()
	log := eventlogtest.Open(t)
	held, release, err := jobLease{log}.Hold(t.Context(), "job-erase")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := (jobLease{log}).Hold(t.Context(), "job-erase"); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("a second node has the job's lease too: %v", err)
	}
	// Another node takes it over and is killed at once: its record stays, with 3 s.
	leases, err := log.Bucket(t.Context(), eventlog.BucketConfig{Name: "LEASES", Description: "Who holds which role."})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := leases.Get(t.Context(), "job-erase")
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(entry.Value, &record); err != nil {
		t.Fatal(err)
	}
	record["nonce"], record["ttl_ns"] = "killed", 3*time.Second
	value, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Put(t.Context(), "job-erase", value); err != nil {
		t.Fatal(err)
	}
	<-held.Done() // who had it is told
	release()
	_, release, err = jobLease{log}.Hold(t.Context(), "job-erase")
	if err != nil {
		t.Fatalf("after the death of its holder: %v", err)
	}
	release()
}

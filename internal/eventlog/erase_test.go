package eventlog_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// filesWith returns the files below a directory that hold a text.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What Erase removes is gone from the files, whatever lies beside it in them; the
// rest of the log is what it was, at once and after a restart, and goes on.
func TestEraseLeavesNoBytes(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	const messages = 300
	kept := map[uint64]string{}
	for i := range messages {
		subject, text := "usage.tnt_keep", fmt.Sprintf("what stays %d", i)
		if i%3 == 1 || i == messages-1 {
			subject, text = "usage.tnt_gone", fmt.Sprintf("what goes %d", i)
		}
		// Some are large, so that there are several block files.
		text += string(bytes.Repeat([]byte{'.'}, 200_000*(i%2)))
		ack, err := log.Append(t.Context(), eventlog.Message{Subject: subject, ID: fmt.Sprint(i), Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		if subject == "usage.tnt_keep" {
			kept[ack.Seq] = text
		}
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "store/jetstream/*/streams/USAGE/msgs/*.blk"))
	if err != nil || len(blocks) < 3 {
		t.Fatalf("%d block files, %v; several are needed", len(blocks), err)
	}
	if len(filesWith(t, dir, "what goes")) == 0 {
		t.Fatal("the test does not find what it looks for before the erasure")
	}
	reader, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: messages + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	gone, err := log.Find(t.Context(), schemas.StreamUsage, []string{"usage.tnt_gone"}, messages, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(gone)+len(kept) != messages {
		t.Fatalf("found %d of %d", len(gone), messages-len(kept))
	}
	for range 2 { // the second time there is nothing to do
		if err := log.Erase(t.Context(), schemas.StreamUsage, gone); err != nil {
			t.Fatal(err)
		}
	}
	if files := filesWith(t, dir, "what goes"); len(files) > 0 {
		t.Errorf("erased bytes are still in %q", files)
	}
	check := func(log *eventlog.Log, extra int) {
		t.Helper()
		state, err := log.State(t.Context(), schemas.StreamUsage)
		if err != nil || state.Last != uint64(messages+extra) || int(state.Messages) != len(kept)+extra {
			t.Errorf("state %+v, %v; want %d messages up to %d", state, err, len(kept)+extra, messages+extra)
		}
		for seq, text := range kept {
			if r, err := log.Get(t.Context(), schemas.StreamUsage, seq); err != nil || string(r.Data) != text {
				t.Fatalf("record %d is %.20q, %v", seq, r.Data, err)
			}
		}
		if last, err := log.LastOf(t.Context(), schemas.StreamUsage, "usage.*"); err != nil || last == 0 || last == messages {
			t.Errorf("the newest record is at %d, %v", last, err)
		}
		found, err := log.Find(t.Context(), schemas.StreamUsage, []string{"usage.tnt_gone"}, messages+10, nil)
		if err != nil || len(found) > 0 {
			t.Errorf("%d records are found after the erasure, %v", len(found), err)
		}
	}
	check(log, 0)
	ack, err := log.Append(t.Context(), eventlog.Message{Subject: "usage.tnt_keep", ID: "later", Data: []byte("later")})
	if err != nil || ack.Seq != messages+1 {
		t.Fatalf("append after the erasure: %d, %v", ack.Seq, err)
	}
	// A reader that was there before goes on.
	records, err := reader.Next(t.Context(), 10, 1<<20, 10*time.Second)
	if err != nil || len(records) != 1 || string(records[0].Data) != "later" {
		t.Errorf("the reader got %d records, %v", len(records), err)
	}
	reader.Close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	check(log, 1)
	if files := filesWith(t, dir, "what goes"); len(files) > 0 {
		t.Errorf("erased bytes are in %q after a restart", files)
	}
}

// The server rebuilds its state from the block files when its own note of it is
// missing, and then too nothing of what was erased comes back, and nothing else goes.
func TestEraseOutlivesTheServersNotes(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	var gone []uint64
	for i := range 50 {
		ack, err := log.Append(t.Context(), eventlog.Message{Subject: "usage.tnt_a", ID: fmt.Sprint(i), Data: fmt.Appendf(nil, "secret %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 || i > 45 {
			gone = append(gone, ack.Seq)
		}
	}
	if err := log.Erase(t.Context(), schemas.StreamUsage, gone); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	notes, err := filepath.Glob(filepath.Join(dir, "store/jetstream/*/streams/USAGE/msgs/index.db"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("the server's notes are %q, %v", notes, err)
	}
	if err := os.Remove(notes[0]); err != nil {
		t.Fatal(err)
	}
	log = eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	left, err := log.Find(t.Context(), schemas.StreamUsage, []string{"usage.*"}, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(50) {
		if slices.Contains(left, seq+1) == slices.Contains(gone, seq+1) {
			t.Errorf("position %d: left %t, erased %t", seq+1, slices.Contains(left, seq+1), slices.Contains(gone, seq+1))
		}
	}
	if state, err := log.State(t.Context(), schemas.StreamUsage); err != nil || state.Last != 50 {
		t.Errorf("the log ends at %d, %v; positions would be used again", state.Last, err)
	}
}

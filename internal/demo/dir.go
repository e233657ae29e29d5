package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agentik-os/panda/schemas"
)

// Record is what a demo leaves in its data directory: which month it made, and
// what the doors answered. The month itself can be made again from it. Its file
// also marks the directory as a demo's own, which a later one may replace.
type Record struct {
	Seed   uint64 `json:"seed"`
	Events int    `json:"events"`
	Month  string `json:"month"`
	// Loaded is nil until everything was acknowledged.
	Loaded *Loaded `json:"loaded,omitempty"`
}

const recordFile = "demo.json"

// ReadRecord returns the record in a directory; the error matches os.ErrNotExist
// if there is none.
func ReadRecord(dir string) (Record, error) {
	var r Record
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", filepath.Join(dir, recordFile), err)
	}
	return r, nil
}

// Write puts the record into a directory.
func (r Record) Write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode demo record: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write demo record: %w", err)
	}
	return nil
}

// Renew makes an empty directory for a demo and writes the record into it. What
// an earlier demo left there is removed; a directory that is not empty and not a
// demo's is refused with schemas.ErrInvalid, and nothing in it is touched. The
// caller has made sure that no server runs on it.
func (r Record) Renew(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look into demo directory: %w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, recordFile)); err != nil {
			return schemas.Invalid("/data", schemas.CodeNotAllowed,
				"%s is not empty and not the directory of a demo; a demo starts from nothing, so give it another directory", dir)
		}
	}
	// The record goes last: a crash in between leaves a directory that is still
	// known to be a demo's.
	for _, e := range entries {
		if e.Name() == recordFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove earlier demo: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make demo directory: %w", err)
	}
	return r.Write(dir)
}

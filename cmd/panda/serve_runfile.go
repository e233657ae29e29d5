package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// runFile is in the data directory while a server runs on it, so that other
// commands find it.
type runFile struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

func runFilePath(data string) string { return filepath.Join(data, "server.json") }

func (p *pipeline) writeRunFile() error {
	data, err := json.Marshal(runFile{p.URL(), os.Getpid()})
	if err != nil {
		return err
	}
	if err := writeDurably(runFilePath(p.cfg.Data), data); err != nil {
		return fmt.Errorf("write %s: %w", runFilePath(p.cfg.Data), err)
	}
	return nil
}

func removeRunFile(data string) error {
	if err := os.Remove(runFilePath(data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func readRunFile(data string) (runFile, error) {
	var run runFile
	text, err := os.ReadFile(runFilePath(data))
	if err != nil {
		return run, err
	}
	return run, json.Unmarshal(text, &run)
}

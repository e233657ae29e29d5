package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// stateHead is how much of a file tells it from others, with its size.
	stateHead = 64 << 10
	// stateAgeMax is how old a state may be to be used: an import that was left
	// alone for longer is started over.
	stateAgeMax = 7 * 24 * time.Hour
	// stateEvery is how often the state is written. A crash in between sends some
	// rows again.
	stateEvery = time.Second
)

// importState remembers how far an import came, in <data>/imports. It saves
// time and nothing else: rows keep their ids, so sending them again is harmless,
// and a state that cannot be read or written is as good as none. Before it is
// used, the server is asked whether it has the last row it speaks of.
type importState struct {
	path string

	mu      sync.Mutex
	next    int64                  // the first batch that is not acknowledged
	ahead   map[int64]*importBatch // acknowledged after a gap
	saved   savedState
	written time.Time
}

// savedState is the file.
type savedState struct {
	Rows int64     `json:"rows"` // from the start of the file, all acknowledged
	Time time.Time `json:"time"`
	// Source and ID are of one of these rows.
	Source string `json:"source"`
	ID     string `json:"id"`
}

// openImportState returns the state of importing a file with these flags to this
// server, or nil.
func (a *app) openImportState(path string, f importFlags) *importState {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, stateHead)); err != nil {
		return nil
	}
	// Everything that decides which events the rows become and where they go.
	text, err := json.Marshal([]any{info.Size(), a.url, f.tenant, f.format, f.source, f.timeFormat, f.maps, f.sets})
	if err != nil {
		return nil
	}
	hash.Write(text)
	name := hex.EncodeToString(hash.Sum(nil)[:16]) + ".json"
	return &importState{path: filepath.Join(a.cfg.Data, "imports", name), ahead: map[int64]*importBatch{}}
}

// resume returns how many rows an earlier run sent.
func (s *importState) resume(ctx context.Context, c *apiClient, f importFlags) int64 {
	if s == nil || f.restart {
		return 0
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return 0
	}
	var saved savedState
	if json.Unmarshal(text, &saved) != nil || saved.Rows <= 0 || saved.ID == "" || time.Since(saved.Time) > stateAgeMax {
		return 0
	}
	answer, err := c.lookUp(ctx, f.tenant, lookupRequest{Source: saved.Source, IDs: []string{saved.ID}})
	if err != nil || len(answer.Found) != 1 {
		return 0
	}
	s.saved = saved
	return saved.Rows
}

// acked notes a batch that is on the log.
func (s *importState) acked(b *importBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead[b.number] = b
	for {
		b, ok := s.ahead[s.next]
		if !ok {
			break
		}
		delete(s.ahead, s.next)
		s.next++
		last := b.rows[len(b.rows)-1]
		s.saved = savedState{Rows: b.lastRow, Time: time.Now().UTC(), Source: last.source, ID: last.id}
	}
	if time.Since(s.written) >= stateEvery {
		s.write()
	}
}

// end removes the state of an import that is done, and keeps that of one that
// is not.
func (s *importState) end(done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done {
		_ = os.Remove(s.path) // none is as good
		return
	}
	s.write()
}

// write replaces the file in one step. Its failure costs time on a later run.
func (s *importState) write() {
	s.written = time.Now()
	if s.saved.Rows == 0 {
		return
	}
	if err := s.replace(); err != nil {
		_ = os.Remove(s.path)
	}
}

func (s *importState) replace() error {
	text, err := json.Marshal(s.saved)
	if err != nil {
		return fmt.Errorf("encode import state: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("make the directory of import states: %w", err)
	}
	next := s.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write import state: %w", err)
	}
	return os.Rename(next, s.path)
}

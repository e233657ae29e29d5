package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// faultyServer keeps the contract of the import routes in memory and, at chosen
// requests, stores the batch and loses the answer, or refuses it. The scripts in
// testdata run the real server; what it cannot be told to do is here.
type faultyServer struct {
	mu       sync.Mutex
	seq      int64
	accepted map[string]int64 // source and id to position
	requests int
	sent     int              // events in all requests
	fault    func(int) string // of request n from 1: "", "lost" or "refused"
}

func (s *faultyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	switch r.URL.Path {
	case "/v1/import":
		s.takeBatch(w, body)
	case "/v1/events/lookup":
		var ask lookupRequest
		if err := json.Unmarshal(body, &ask); err != nil {
			panic(err)
		}
		var answer lookupAnswer
		for _, id := range ask.IDs {
			if seq, ok := s.accepted[ask.Source+"\x00"+id]; ok {
				answer.Found = append(answer.Found, struct {
					ID  string `json:"id"`
					Seq int64  `json:"seq"`
				}{id, seq})
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
	case "/v1/conflicts":
		_, _ = io.WriteString(w, `{"conflicts":[]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *faultyServer) takeBatch(w http.ResponseWriter, body []byte) {
	s.requests++
	fault := ""
	if s.fault != nil {
		fault = s.fault(s.requests)
	}
	if fault == "refused" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"detail":"no more today"}`)
		return
	}
	var events []struct{ ID, Source string }
	if err := json.Unmarshal(body, &events); err != nil {
		panic(err)
	}
	s.seq++
	s.sent += len(events)
	for _, e := range events {
		key := e.Source + "\x00" + e.ID
		if _, twice := s.accepted[key]; !twice {
			s.accepted[key] = s.seq
		}
	}
	if fault == "lost" {
		panic(http.ErrAbortHandler) // the connection breaks after the commit
	}
	_, _ = fmt.Fprintf(w, `{"accepted":%d,"rejected":0,"seq":%d,"events":[]}`, len(events), s.seq)
}

// importInto runs `panda import` of a file of n rows against a server.
func importInto(t *testing.T, s *faultyServer, data string, rows int, args ...string) (importResult, string, error) {
	t.Helper()
	if s.accepted == nil {
		s.accepted = map[string]int64{}
	}
	server := httptest.NewServer(s)
	defer server.Close()
	server.Config.ErrorLog = nil
	var file strings.Builder
	file.WriteString("time,model,input_tokens\n")
	for i := range rows {
		fmt.Fprintf(&file, "%d,gpt-4o,%d\n", 1_770_000_000+i/2, i%3)
	}
	path := filepath.Join(data, "rows.csv")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	a, stdout, stderr := testApp(map[string]string{"PANDA_OUTPUT": outputJSON})
	a.cfg.Data = data
	a.connect = func(context.Context) (*apiClient, func() error, error) {
		return &apiClient{base: server.URL, http: server.Client()}, func() error { return nil }, nil
	}
	root := newRoot(a)
	root.SetArgs(append([]string{"import", path, "--workers", "1"}, args...))
	err := root.ExecuteContext(t.Context())
	var answer struct{ Files []importResult }
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
	}
	if len(answer.Files) != 1 {
		t.Fatalf("%d results: %s", len(answer.Files), stderr)
	}
	return answer.Files[0], stderr.String(), err
}

func wantCounts(t *testing.T, got importResult, want importResult) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(importResult{}, "File", "First", "Last", "Errors"),
		cmpopts.IgnoreUnexported(importResult{})); diff != "" {
		t.Error(diff)
	}
}

// A batch whose answer is lost is sent again, and its rows are still this run's.
func TestImportSurvivesLostAnswers(t *testing.T) {
	s := &faultyServer{fault: func(n int) string {
		if n == 2 || n == 3 {
			return "lost"
		}
		return ""
	}}
	data := t.TempDir()
	got, _, err := importInto(t, s, data, 2500)
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, got, importResult{Read: 2500, Accepted: 2500})
	if len(s.accepted) != 2500 {
		t.Errorf("the server counts %d rows", len(s.accepted))
	}
	s.fault = nil
	got, _, err = importInto(t, s, data, 2500)
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, got, importResult{Read: 2500, Duplicates: 2500})
}

// An import that broke off goes on where it stopped; without its state, or on a
// server that does not have its rows, it starts over. Nothing counts twice.
func TestImportGoesOn(t *testing.T) {
	broken := func() (*faultyServer, string) {
		s, data := &faultyServer{fault: func(n int) string {
			if n > 3 {
				return "refused"
			}
			return ""
		}}, t.TempDir()
		_, _, err := importInto(t, s, data, 5000)
		if exitCode(err) != exitNotAllowed || len(s.accepted) != 3000 {
			t.Fatalf("%v with %d rows", err, len(s.accepted))
		}
		s.fault, s.sent = nil, 0
		return s, data
	}
	t.Run("from its state", func(t *testing.T) {
		s, data := broken()
		got, said, err := importInto(t, s, data, 5000)
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, got, importResult{Read: 5000, Skipped: 3000, Accepted: 2000})
		if s.sent != 2000 || len(s.accepted) != 5000 || !strings.Contains(said, "going on after row 3,000") {
			t.Errorf("%d rows sent, %d counted, said %q", s.sent, len(s.accepted), said)
		}
		if left, err := filepath.Glob(filepath.Join(data, "imports", "*")); err != nil || len(left) > 0 {
			t.Errorf("a state is left: %v, %v", left, err)
		}
	})
	for name, spoil := range map[string]func(s *faultyServer, data string) []string{
		"--restart": func(*faultyServer, string) []string { return []string{"--restart"} },
		"no state": func(_ *faultyServer, data string) []string {
			if err := os.RemoveAll(filepath.Join(data, "imports")); err != nil {
				t.Fatal(err)
			}
			return nil
		},
		"a state that is no JSON": func(_ *faultyServer, data string) []string {
			files, err := filepath.Glob(filepath.Join(data, "imports", "*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, data := broken()
			got, _, err := importInto(t, s, data, 5000, spoil(s, data)...)
			if err != nil {
				t.Fatal(err)
			}
			wantCounts(t, got, importResult{Read: 5000, Accepted: 2000, Duplicates: 3000})
		})
	}
	t.Run("on an empty server", func(t *testing.T) {
		_, data := broken()
		got, _, err := importInto(t, &faultyServer{}, data, 5000)
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, got, importResult{Read: 5000, Accepted: 5000})
	})
}

func TestImportGivesUp(t *testing.T) {
	a, stdout, stderr := testApp(nil)
	a.stdin = strings.NewReader("time,model,input_tokens\n" + strings.Repeat("yesterday,gpt-4o,1\n", 50))
	root := newRoot(a)
	root.SetArgs([]string{"import", "-", "--dry-run", "--max-errors", "7"})
	err := root.ExecuteContext(t.Context())
	if !errors.Is(err, errTooManyErrors) || exitCode(err) != exitWrong {
		t.Errorf("%v", err)
	}
	if got := strings.Count(stderr.String(), "line "); got != 7 {
		t.Errorf("%d rows are named: %s", got, stderr)
	}
	if want := "standard input: stopped; so far 7 rows read: 0 good, 7 rejected"; !strings.HasPrefix(stdout.String(), want) {
		t.Errorf("%s", stdout)
	}
}

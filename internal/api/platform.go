package api

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// summary is GET /v1/summary: what came in and what became of it, over all
// tenants and all time.
func (a *API) summary(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	fresh, err := boolQuery(r, "fresh")
	if err != nil {
		return err
	}
	if fresh {
		for _, s := range stages.Shards {
			s.Rollup.Want() // whoever asks for fresh positions waits for the windows
		}
	}
	stages.settle(r.Context(), "")
	// After every commit, whatever the clocks of writers say, and within what
	// ClickHouse can hold.
	endOfTime := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	type positions struct {
		Log    uint64 `json:"log"`
		Ledger uint64 `json:"ledger"`
		Rollup uint64 `json:"rollup"`
	}
	var intake aggregate.Intake
	var sums aggregate.Sums
	var at positions
	for _, s := range stages.Shards {
		in, err := s.Reader.Intake(r.Context(), time.Unix(0, 0), endOfTime)
		if err != nil {
			return err
		}
		intake.Add(&in)
		sum, err := s.Reader.Sums(r.Context())
		if err != nil {
			return err
		}
		sums.Add(&sum)
		last, err := s.End(r.Context())
		if err != nil {
			return err
		}
		// Each shard counts from one, so the sums are how many messages there are.
		at.Log += last
		at.Ledger += s.Live.Position().Seq
		at.Rollup += s.Rollup.Position()
	}
	return writeJSON(w, struct {
		Messages    int64         `json:"messages"`
		Events      int64         `json:"events"`
		Accepted    int64         `json:"accepted"`
		Duplicates  int64         `json:"duplicates"`
		Conflicts   int64         `json:"conflicts"`
		Quarantined int64         `json:"quarantined"`
		Late        int64         `json:"late"`
		Unpriced    int64         `json:"unpriced"`
		Calls       int64         `json:"calls"`
		TokensTotal int64         `json:"tokens_total"`
		Cost        schemas.Money `json:"cost"`
		Position    positions     `json:"position"`
	}{
		intake.Messages, intake.Events, intake.Accepted, intake.Duplicates, intake.Conflicts, intake.Quarantined,
		intake.Late, intake.Unpriced, sums.Calls, sums.Tokens, sums.Cost,
		at,
	})
}

type jobView struct {
	Name       string     `json:"name"`
	Schedule   string     `json:"schedule"`
	Running    bool       `json:"running"`
	LastRun    *time.Time `json:"last_run"`
	NextRun    *time.Time `json:"next_run"`
	DurationMS int64      `json:"duration_ms"`
	Outcome    string     `json:"outcome"`
	Detail     string     `json:"detail"`
	Position   uint64     `json:"position,omitempty"`
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// jobs is GET /v1/jobs.
func (a *API) jobs(w http.ResponseWriter, _ *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	views := []jobView{}
	var all []rollup.JobStatus
	positions := map[string]uint64{}
	for i, s := range stages.Shards {
		status := s.Rollup.Status()
		if len(stages.Shards) > 1 {
			status.Name += "-" + strconv.Itoa(i)
		}
		positions[status.Name] = s.Rollup.Position()
		all = append(all, status)
	}
	for _, s := range append(all, stages.Jobs.Status()...) {
		v := jobView{
			Position: positions[s.Name],
			Name:     s.Name, Schedule: s.Schedule, Running: s.Running,
			LastRun: timeOrNull(s.LastRun), NextRun: timeOrNull(s.NextRun),
			DurationMS: s.Duration.Milliseconds(), Outcome: s.Outcome, Detail: s.Detail,
		}
		views = append(views, v)
	}
	return writeJSON(w, struct {
		Jobs []jobView `json:"jobs"`
	}{views})
}

type checkLine struct {
	Repaired string   `json:"repaired,omitempty"`
	Check    string   `json:"check,omitempty"`
	OK       bool     `json:"ok"`
	Skipped  string   `json:"skipped,omitempty"`
	Detail   string   `json:"detail,omitempty"`
	Findings []string `json:"findings,omitempty"`
	Checks   int      `json:"checks,omitempty"`
	TookMS   int64    `json:"took_ms,omitempty"`
}

// verify is POST /v1/verify: a line of JSON per repair that was made, if repair=1
// asked for any, a line per check, and one at the end. replay says how many ranges
// are judged again, a number or "all".
func (a *API) verify(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	repair, err := boolQuery(r, "repair")
	if err != nil {
		return err
	}
	opts := rollup.VerifyOptions{Salt: uint64(time.Now().UnixNano())}
	if opts.ReplayMax, err = replayQuery(r); err != nil {
		return err
	}
	started := time.Now()
	// A verify takes as long as there is data; the server's limits on a request
	// are for questions.
	ctx, err := httpapi.Unbounded(w, r)
	if err != nil {
		return err
	}
	outcome, err := stages.Verify(ctx, opts, repair)
	if err != nil {
		return err
	}
	report := &outcome.Report
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, done := range outcome.Done {
		if err := out.Encode(checkLine{Repaired: done, OK: true}); err != nil {
			return nil // the client is gone; there is nobody to tell
		}
	}
	for i := range report.Checks {
		if err := out.Encode(lineOf(&report.Checks[i])); err != nil {
			return nil // the client is gone; there is nobody to tell
		}
	}
	_ = out.Encode(checkLine{OK: report.OK(), Checks: len(report.Checks), TookMS: time.Since(started).Milliseconds()})
	return nil
}

// replayQuery reads how many ranges are to be judged again; 0 is the default.
func replayQuery(r *http.Request) (uint32, error) {
	text := r.URL.Query().Get("replay")
	switch text {
	case "":
		return 0, nil
	case "all":
		return math.MaxUint32, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, schemas.Invalid("/replay", schemas.CodeMalformed, "%q is not a number of ranges; use 1 or more, or all", text)
	}
	return uint32(n), nil
}

func lineOf(c *rollup.Check) checkLine {
	line := checkLine{Check: c.Name, OK: c.OK(), Skipped: c.Skipped}
	var parts []string
	for _, n := range c.Numbers {
		parts = append(parts, n.Name+" "+n.Value)
	}
	parts = append(parts, c.Notes...)
	line.Detail = strings.Join(parts, ", ")
	for _, f := range c.Findings {
		line.Findings = append(line.Findings, f.String())
	}
	return line
}

func intText(n int64) string { return strconv.FormatInt(n, 10) }

// printable returns a body as text; bytes that are none are escaped.
func printable(body []byte) string {
	if utf8.Valid(body) {
		return string(body)
	}
	quoted := strconv.Quote(string(body))
	return quoted[1 : len(quoted)-1]
}

// readAll reads a small body whole. The error for a large one is 413.
func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, schemas.RequestBytesMax))
	if tooLarge := (*http.MaxBytesError)(nil); err != nil && !errors.As(err, &tooLarge) {
		return nil, schemas.Invalid("", schemas.CodeMalformed, "the body ended before it was complete; send it again")
	}
	return body, err
}

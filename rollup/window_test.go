package rollup_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
func signed(n int64) string   { return strconv.FormatInt(n, 10) }

var may = time.Date(2026, 5, 3, 10, 0, 0, 0, time.UTC)

func worker(p *project) *rollup.Worker {
	return rollup.New(rollup.Config{}, rollup.NewTables(p.db, nil))
}

func (p *project) pass(w *rollup.Worker) rollup.Pass {
	p.t.Helper()
	pass, err := w.Pass(context.Background())
	if err != nil {
		p.t.Fatalf("pass: %v", err)
	}
	return pass
}

// rollups returns the rollup table as readers see it, one line per window, with
// its breakdown by model.
func (p *project) rollups() string {
	p.t.Helper()
	rows, err := p.db.Query(context.Background(), `
		SELECT tenant, toString(grain), formatDateTime(window, '%Y-%m-%dT%H'), calls, unpriced, tokens, cost,
			arrayMap((m, n) -> concat(m, ':', toString(n)), by.model, by.calls)
		FROM rollup FINAL ORDER BY tenant, grain, window`)
	if err != nil {
		p.t.Fatalf("read rollups: %v", err)
	}
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var tenant, grain, window string
		var calls, unpriced, tokens int64
		var cost schemas.Money
		var by []string
		if err := rows.Scan(&tenant, &grain, &window, &calls, &unpriced, &tokens, &cost, &by); err != nil {
			p.t.Fatalf("read rollups: %v", err)
		}
		fmt.Fprintf(&out, "%s %s %s calls %d unpriced %d tokens %d $%s %v\n", tenant, grain, window, calls, unpriced, tokens, cost, by)
	}
	if err := rows.Err(); err != nil {
		p.t.Fatalf("read rollups: %v", err)
	}
	return out.String()
}

func (p *project) wantRollups(want string) {
	p.t.Helper()
	want = strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", "")
	if diff := cmp.Diff(want, p.rollups()); diff != "" {
		p.t.Errorf("rollups -want +got:\n%s", diff)
	}
}

func TestPassReplacesWindows(t *testing.T) {
	p := newProject(t)
	w := worker(p)
	first := call("acme", 1, may, "opus", 100, 5_000_000)
	p.commit(2, first, call("acme", 2, may.Add(time.Hour), "haiku", 10, 1_000_000), call("beta", 2, may, "opus", 1, 1))
	pass := p.pass(w)
	if pass.From != 0 || pass.Position != 2 || pass.Hours != 3 || pass.Days != 2 || pass.Months != 2 || pass.More {
		t.Errorf("first pass: %+v", pass)
	}
	p.wantRollups(`
		acme hour 2026-05-03T10 calls 1 unpriced 0 tokens 100 $0.000005 [opus:1]
		acme hour 2026-05-03T11 calls 1 unpriced 0 tokens 10 $0.000001 [haiku:1]
		acme day 2026-05-03T00 calls 2 unpriced 0 tokens 110 $0.000006 [haiku:1 opus:1]
		acme month 2026-05-01T00 calls 2 unpriced 0 tokens 110 $0.000006 [haiku:1 opus:1]
		beta hour 2026-05-03T10 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
		beta day 2026-05-03T00 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
		beta month 2026-05-01T00 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
	`[1:])

	// A late event in an hour that is rolled up, one in another month, a void.
	late := call("acme", 3, may.Add(time.Minute), "haiku", 7, 2_000_000)
	late.Priced, late.Cost = false, schemas.Money{}
	p.commit(5, late, void(first, 4), call("acme", 5, may.AddDate(0, -1, 0), "opus", 3, 3_000_000))
	if pass := p.pass(w); pass.From != 2 || pass.Position != 5 || pass.Hours != 2 {
		t.Errorf("second pass: %+v", pass)
	}
	p.wantRollups(`
		acme hour 2026-04-03T10 calls 1 unpriced 0 tokens 3 $0.000003 [opus:1]
		acme hour 2026-05-03T10 calls 1 unpriced 1 tokens 7 $0.000000 [haiku:1]
		acme hour 2026-05-03T11 calls 1 unpriced 0 tokens 10 $0.000001 [haiku:1]
		acme day 2026-04-03T00 calls 1 unpriced 0 tokens 3 $0.000003 [opus:1]
		acme day 2026-05-03T00 calls 2 unpriced 1 tokens 17 $0.000001 [haiku:2]
		acme month 2026-04-01T00 calls 1 unpriced 0 tokens 3 $0.000003 [opus:1]
		acme month 2026-05-01T00 calls 2 unpriced 1 tokens 17 $0.000001 [haiku:2]
		beta hour 2026-05-03T10 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
		beta day 2026-05-03T00 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
		beta month 2026-05-01T00 calls 1 unpriced 0 tokens 1 $0.000000000001 [opus:1]
	`[1:])
	if pass := p.pass(w); pass.Windows() != 0 || pass.Position != 5 {
		t.Errorf("a pass with nothing to do: %+v", pass)
	}
}

func TestPassKeepsARowForAWindowThatIsAllVoid(t *testing.T) {
	p := newProject(t)
	only := call("acme", 1, may, "opus", 100, 5_000_000)
	p.commit(1, only)
	w := worker(p)
	p.pass(w)
	p.commit(2, void(only, 2))
	p.pass(w)
	p.wantRollups(`
		acme hour 2026-05-03T10 calls 0 unpriced 0 tokens 0 $0.000000 []
		acme day 2026-05-03T00 calls 0 unpriced 0 tokens 0 $0.000000 []
		acme month 2026-05-01T00 calls 0 unpriced 0 tokens 0 $0.000000 []
	`[1:])
}

func TestPassLeavesOutWhatIsNotCommitted(t *testing.T) {
	p := newProject(t)
	p.commit(1, call("acme", 1, may, "opus", 100, 5_000_000))
	// The writer died between the insert and the ledger row, twice.
	p.insert([]schemas.Accepted{call("acme", 2, may, "opus", 900, 9_000_000)})
	p.insert([]schemas.Accepted{call("acme", 2, may, "opus", 900, 9_000_000)})
	w := worker(p)
	p.pass(w)
	if got := p.rollups(); strings.Contains(got, "900") || !strings.Contains(got, "tokens 100 ") {
		t.Errorf("rollups before the commit:\n%s", got)
	}
	p.commit(2, call("acme", 2, may, "opus", 900, 9_000_000))
	p.pass(w)
	if got := p.rollups(); strings.Count(got, "calls 2 unpriced 0 tokens 1000 $0.000014") != 3 {
		t.Errorf("rollups after the commit:\n%s", got)
	}
}

func TestPassStopsAtALedgerThatIsBroken(t *testing.T) {
	for name, damage := range map[string]func(p *project){
		"gap":               func(p *project) { p.ledger(5, 6, nil) },
		"overlap":           func(p *project) { p.ledger(3, 6, nil); p.ledger(5, 7, nil) },
		"across position":   func(p *project) { p.ledger(2, 6, nil) },
		"lost the last one": func(p *project) { p.exec("ALTER TABLE ledger DELETE WHERE 1"); p.ledger(4, 6, nil) },
		"emptied":           func(p *project) { p.exec("ALTER TABLE ledger DELETE WHERE 1") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.commit(2, call("acme", 1, may, "opus", 100, 1))
			w := worker(p)
			p.pass(w)
			before := p.rollups()
			damage(p)
			_, err := w.Pass(t.Context())
			if !errors.Is(err, rollup.ErrLedgerBroken) {
				t.Errorf("the pass returned %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := w.Run(ctx); !errors.Is(err, rollup.ErrLedgerBroken) {
				t.Errorf("the worker ended with %v", err)
			}
			if diff := cmp.Diff(before, p.rollups()); diff != "" {
				t.Errorf("rollups changed: %s", diff)
			}
		})
	}
}

// faultyDB fails one Exec, before or after it has its effect.
type faultyDB struct {
	*warehouse.DB
	countdown int
	applied   bool
	execs     int
}

var errInjected = errors.New("injected")

func (f *faultyDB) Exec(ctx context.Context, sql string, params ...warehouse.Param) error {
	f.execs++
	f.countdown--
	if f.countdown != 0 {
		return f.DB.Exec(ctx, sql, params...)
	}
	if f.applied {
		if err := f.DB.Exec(ctx, sql, params...); err != nil {
			return err
		}
	}
	return errInjected
}

// TestPassMayDieAnywhere fails a pass at every statement, once before it has its
// effect and once after, lets the ledger grow meanwhile or not, and makes the
// pass again: the windows are what the events add up to. All cases go through
// one database, one after the other, each with a new event in old windows.
func TestPassMayDieAnywhere(t *testing.T) {
	p := newProject(t)
	want := oracle{}
	var seq uint64
	grow := func() {
		seq += 2
		rows := []schemas.Accepted{
			call("acme", seq-1, may, "opus", int64(seq), int64(seq)), call("acme", seq, may.AddDate(0, -1, 0), "haiku", 1, 1),
			void(call("beta", seq, may, "opus", 1, 1), seq),
		}
		rows[2].Idx = 1
		p.commit(seq, rows...)
		want.add(rows)
	}
	grow()
	counting := &faultyDB{DB: p.db}
	if _, err := rollup.New(rollup.Config{}, rollup.NewTables(counting, nil)).Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Hours, days and months of two months, and the record of the run.
	if counting.execs != 7 {
		t.Fatalf("the pass has %d statements, not 7", counting.execs)
	}
	for statement := 1; statement <= counting.execs; statement++ {
		for _, applied := range []bool{false, true} {
			grow()
			faulty := &faultyDB{DB: p.db, countdown: statement, applied: applied}
			if _, err := rollup.New(rollup.Config{}, rollup.NewTables(faulty, nil)).Pass(t.Context()); !errors.Is(err, errInjected) {
				t.Fatalf("statement %d, applied %v: the pass returned %v", statement, applied, err)
			}
			if statement%2 == 0 {
				grow()
			}
			pass := p.pass(worker(p))
			if pass.Position != seq {
				t.Errorf("statement %d, applied %v: the next pass came to %d of %d", statement, applied, pass.Position, seq)
			}
			if diff := cmp.Diff(want.text(), p.breakdown()); diff != "" {
				t.Fatalf("statement %d, applied %v: rollups -want +got:\n%s", statement, applied, diff)
			}
		}
	}
}

// TestPassSplits makes a pass in the smallest pieces: one ledger range at a
// time, one window per statement.
func TestPassSplits(t *testing.T) {
	p := newProject(t)
	var seq uint64
	for i := range 6 {
		var rows []schemas.Accepted
		for j := range 4 {
			seq++
			rows = append(rows, call("t"+decimal(uint64(j%3)), seq, may.Add(time.Duration(i*j)*7*time.Hour).AddDate(0, -j, 0), "opus", int64(seq), int64(seq)))
		}
		p.commit(seq, rows...)
	}
	whole := newProject(t)
	whole.db = p.db
	p.pass(worker(whole))
	want := p.rollups()

	p.exec("TRUNCATE TABLE rollup")
	p.exec("TRUNCATE TABLE job_runs")
	small := rollup.New(rollup.Config{WindowsMax: 1, PairsMax: 1, RangesMax: 3}, rollup.NewTables(p.db, nil))
	passes := 0
	for pass := (rollup.Pass{More: true}); pass.More; passes++ {
		if passes > 20 {
			t.Fatal("the passes do not end")
		}
		pass = p.pass(small)
	}
	if passes < 6 {
		t.Errorf("%d passes for six ranges", passes)
	}
	if diff := cmp.Diff(want, p.rollups()); diff != "" {
		t.Errorf("rollups -whole +split:\n%s", diff)
	}
}

func TestRunFollowsTheLedger(t *testing.T) {
	p := newProject(t)
	w := rollup.New(rollup.Config{IntervalMin: time.Millisecond, IntervalMax: time.Hour}, rollup.NewTables(p.db, nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for seq := uint64(1); seq <= 3; seq++ {
		p.commit(seq, call("acme", seq, may, "opus", 1, 1))
		waiting, stop := context.WithTimeout(ctx, time.Minute)
		if err := w.WaitFor(waiting, seq); err != nil {
			t.Fatal(err)
		}
		stop()
		if want := fmt.Sprintf("acme month 2026-05-01T00 calls %d ", seq); !strings.Contains(p.rollups(), want) {
			t.Errorf("no %q in\n%s", want, p.rollups())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if w.Position() != 3 {
		t.Errorf("position %d", w.Position())
	}
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	p := newProject(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := worker(p).WaitFor(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
}

// TestPositionIsTheHighest: of two workers the slower one records its pass last.
// The position does not go back, for the windows do not.
func TestPositionIsTheHighest(t *testing.T) {
	p := newProject(t)
	tables := rollup.NewTables(p.db, nil)
	if at, err := tables.Position(t.Context(), rollup.JobName); err != nil || at.Position != 0 || !at.Finished.IsZero() {
		t.Errorf("before any run: %+v, %v", at, err)
	}
	now := time.Now().UTC().Truncate(time.Second) // old runs are forgotten
	for i, position := range []uint64{7, 22, 15} {
		run := rollup.Run{Job: rollup.JobName, Started: now, Finished: now.Add(time.Duration(i) * time.Second), Outcome: rollup.OutcomeOK, Position: position}
		if err := tables.Record(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	at, err := tables.Position(t.Context(), rollup.JobName)
	if err != nil || at.Position != 22 || !at.Finished.Equal(now.Add(2*time.Second)) {
		t.Errorf("have %+v, %v; want 22 and the time of the last one", at, err)
	}
}

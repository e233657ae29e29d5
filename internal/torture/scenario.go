package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
)

// A Scenario is a kind of trouble. Scenarios are listed in cmd/torture.
type Scenario struct {
	// Name is of --only, reports and seeds: one word.
	Name string
	// About says in one line what it does.
	About string
	// Faults names what it may inject, so that the report shows what did not happen.
	Faults []string
	// Weight is how often it is chosen beside others; 0 is 1.
	Weight int
	// Once says that one round is enough for a run: a control, a measure.
	Once bool
	// Needs says why it cannot run here, or returns nil. A scenario that cannot run
	// is named in the report with the reason.
	Needs func() error
	// Run runs one round, which is decided by r.Rng as far as the machine allows.
	// The error is why the round failed; what the checker found wrong is one, by
	// Round.Judge.
	Run func(ctx context.Context, r *Round) error
}

// A Round is one run of a scenario.
type Round struct {
	Scenario *Scenario
	Seed     uint64
	Rng      *rand.Rand
	// Dir is the round's directory. It is kept if the round fails.
	Dir string
	// Binary is panda, built with the tag failpoint; Self is this program.
	Binary, Self string
	// Short asks for the small form that belongs into the tests.
	Short bool
	// Options are the words given with --set name=value, for scenarios that can be
	// scaled.
	Options map[string]string
	Tally   *Tally

	mu      sync.Mutex
	figures Figures
	pandas  []*Panda
	books   []*Book
	found   []string
	closers []func() error
	logs    []string // of failpoints
	answers func() int64

	mayRestore bool
	mayHalt    bool
}

// Option returns an option, or a default.
func (r *Round) Option(name, otherwise string) string {
	if v, ok := r.Options[name]; ok {
		return v
	}
	return otherwise
}

// Panda makes a Panda in the round's directory, ended with the round. Fields of
// cfg that are empty take the round's.
func (r *Round) Panda(cfg PandaConfig) (*Panda, error) {
	if cfg.Binary == "" {
		cfg.Binary = r.Binary
	}
	if cfg.Dir == "" {
		cfg.Dir = r.Dir
	}
	if cfg.Name == "" {
		cfg.Name = "panda"
	}
	if cfg.Data == "" {
		cfg.Data = filepath.Join(r.Dir, "data")
	}
	p, err := NewPanda(cfg)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.pandas = append(r.pandas, p)
	r.mu.Unlock()
	r.HitLog(p.HitLog())
	return p, nil
}

// HitLog adds a file in which processes of the round note the points they pass.
func (r *Round) HitLog(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, path)
}

// Hits returns which points the processes of the round have passed, so far.
func (r *Round) Hits() (map[string]int64, error) {
	r.mu.Lock()
	logs := append([]string(nil), r.logs...)
	r.mu.Unlock()
	hits := map[string]int64{}
	for _, path := range logs {
		of, err := readHits(path)
		if err != nil {
			return nil, err
		}
		for name, n := range of {
			hits[name] += n
		}
	}
	return hits, nil
}

// Tenant makes a tenant whose events the round counts.
func (r *Round) Tenant(ctx context.Context, p *Panda, slug string) (*Tenant, error) {
	t, err := p.MakeTenant(ctx, slug, fmt.Sprintf("%s%08x", slug[:1], r.Rng.Uint32()))
	if err != nil {
		return nil, err
	}
	r.Count(t.Book)
	return t, nil
}

// Count adds a book whose events the round counts.
func (r *Round) Count(b *Book) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.books = append(r.books, b)
}

// OnEnd is called when the round is over, the last one first.
func (r *Round) OnEnd(f func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, f)
}

// Fault counts a fault that was injected.
func (r *Round) Fault(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.figures.Faults == nil {
		r.figures.Faults = map[string]int64{}
	}
	r.figures.Faults[name]++
}

// Killed counts a process that was ended without warning, as a fault of that name.
func (r *Round) Killed(fault string) {
	r.Fault(fault)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures.Kills++
}

// At says what the round is doing, for the live table.
func (r *Round) At(format string, args ...any) {
	r.Tally.mu.Lock()
	defer r.Tally.mu.Unlock()
	r.Tally.now, r.Tally.nowSince = fmt.Sprintf(format, args...), time.Now()
}

// Measure notes something that was measured.
func (r *Round) Measure(what, format string, args ...any) {
	r.Tally.mu.Lock()
	defer r.Tally.mu.Unlock()
	// Where the round lay is nothing that was measured.
	value := strings.ReplaceAll(fmt.Sprintf(format, args...), r.Dir, "…")
	r.Tally.measures = append(r.Tally.measures, Measure{r.Scenario.Name, what, value})
}

// Judge counts a verdict. The error says what is wrong, nil if nothing is.
func (r *Round) Judge(v *Verdict) error {
	hits, err := r.Hits()
	if err != nil {
		return err
	}
	if n := hits[string(failpoint.RangeRestored)]; n > 0 && !r.mayRestore {
		v.wrong("the audit had to restore %d committed ranges from the log, and nothing took rows away", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures.Lost += int64(len(v.Lost))
	r.figures.Doubled += int64(len(v.Doubled))
	r.figures.Wrong += int64(len(v.Wrong))
	r.figures.Checks += v.Checks
	if v.Copies > 0 {
		r.rare(string(failpoint.RangeRepeated), v.Copies)
	}
	r.found = append(r.found, v.Lines()...)
	return v.Err()
}

// Found counts what a reader found wrong while the round ran.
func (r *Round) Found(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures.Wrong++
	r.found = append(r.found, "reader: "+err.Error())
}

// MayRestore says that the round takes rows away behind the program's back, so that
// the audit has something to restore. In any other round a range that had to be
// restored means that it was committed before it was whole.
func (r *Round) MayRestore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mayRestore = true
}

// MayHalt says that the round damages what has to stop the counting.
func (r *Round) MayHalt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mayHalt = true
}

func (r *Round) haltAllowed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mayHalt
}

// rare counts a rare path that the harness saw. The caller holds r.mu.
func (r *Round) rare(name string, n int64) {
	if r.figures.Rare == nil {
		r.figures.Rare = map[string]int64{}
	}
	r.figures.Rare[name] += n
}

// Figures adds figures to the round's, such as those of a child process.
func (r *Round) Figures(f Figures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures.add(&f)
}

// live returns figures while the round runs.
func (r *Round) live() Live {
	r.mu.Lock()
	books, answers, f := append([]*Book(nil), r.books...), r.answers, r.figures
	r.mu.Unlock()
	l := Live{Sent: f.Sent, Acked: f.Acked, Unknown: f.Unknown, Answers: f.Answers}
	for _, b := range books {
		c := b.Counts()
		l.Sent += c.Sent
		l.Acked += c.OK
		l.Unknown += c.Unknown
	}
	if answers != nil {
		l.Answers += answers()
	}
	return l
}

// end closes everything and returns the figures.
func (r *Round) end() (Figures, error) {
	var errs []error
	r.mu.Lock()
	closers, pandas := r.closers, r.pandas
	r.mu.Unlock()
	for i := range closers {
		errs = append(errs, closers[len(closers)-1-i]())
	}
	for _, p := range pandas {
		errs = append(errs, p.Close())
	}
	live := r.live()
	hits, err := r.Hits()
	errs = append(errs, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.figures
	f.Seeds++
	f.Rounds++
	f.Sent, f.Acked, f.Unknown, f.Answers = live.Sent, live.Acked, live.Unknown, live.Answers
	split(&f, hits)
	return f, errors.Join(errs...)
}

// A Runner runs rounds until its time is over.
type Runner struct {
	// For is how long; a round that has begun is finished, and every scenario has one,
	// so that a slow machine leaves nothing out. Rounds, if not 0, is how many,
	// whatever the time.
	For    time.Duration
	Rounds int
	Seed   uint64
	// Scenarios are run in turn, those with more weight more often.
	Scenarios []Scenario
	// Dir is where rounds have their directories.
	Dir          string
	Binary, Self string
	Short        bool
	Options      map[string]string
	Tally        *Tally
	// Again makes the command that repeats a round.
	Again func(scenario string, seed uint64) string
	// Failed is told of each failing round at once; nil is nobody.
	Failed func(Failure)
	// RoundMax bounds one round; a round that is stuck is a failure. Default 15
	// minutes.
	RoundMax time.Duration
}

// Run runs rounds. The error is about the run itself; rounds that failed are in
// the tally.
func (run *Runner) Run(ctx context.Context) error {
	if run.RoundMax == 0 {
		run.RoundMax = 15 * time.Minute
	}
	run.Tally.mu.Lock()
	run.Tally.firstSeed = run.Seed
	run.Tally.mu.Unlock()
	began := time.Now()
	done := map[string]bool{}
	for i := range run.Scenarios {
		if s := &run.Scenarios[i]; s.Needs != nil {
			if err := s.Needs(); err != nil {
				run.Tally.skip(s.Name, err)
				s.Once, done[s.Name] = true, true
			}
		}
	}
	for n := 0; ctx.Err() == nil; n++ {
		if run.Rounds > 0 && n >= run.Rounds {
			return nil
		}
		over := run.Rounds == 0 && time.Since(began) >= run.For
		s := run.choose(n, done, over)
		if s == nil {
			return nil // all that is left has run
		}
		done[s.Name] = true
		run.round(ctx, s, run.Seed+uint64(n))
	}
	return ctx.Err()
}

// choose returns the scenario of a turn: every one in the order of the list, as
// often as its weight, and again, unless the time is over. Nil is that all have run.
func (run *Runner) choose(n int, done map[string]bool, over bool) *Scenario {
	var turns []*Scenario
	for most := 1; ; most++ {
		added := false
		for i := range run.Scenarios {
			if s := &run.Scenarios[i]; max(s.Weight, 1) >= most {
				turns = append(turns, s)
				added = true
			}
		}
		if !added {
			break
		}
	}
	for i := range turns {
		if s := turns[(n+i)%len(turns)]; !done[s.Name] || !s.Once && !over {
			return s
		}
	}
	return nil
}

// round runs one round and counts it.
func (run *Runner) round(ctx context.Context, s *Scenario, seed uint64) {
	r := &Round{Scenario: s, Seed: seed, Rng: rand.New(rand.NewPCG(seed, 0)), Binary: run.Binary, Self: run.Self,
		Dir: filepath.Join(run.Dir, fmt.Sprintf("%s-%d", s.Name, seed)), Short: run.Short, Options: run.Options, Tally: run.Tally}
	run.Tally.begin(r)
	err := os.MkdirAll(r.Dir, 0o700)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, run.RoundMax)
		err = s.Run(ctx, r)
		cancel()
	}
	figures, endErr := r.end()
	if stopped := ctx.Err() != nil; stopped && len(r.found) == 0 {
		err, endErr = nil, nil // interrupted: it has proved nothing, and failed at nothing
		figures.Seeds, figures.Rounds = 0, 0
	}
	if err = errors.Join(err, endErr); err == nil && ctx.Err() == nil {
		err = os.RemoveAll(r.Dir)
	}
	var failure Failure
	if err != nil {
		figures.Failed++
		failure = Failure{Scenario: s.Name, Seed: seed, Dir: r.Dir, Error: err.Error(), Found: r.found, Again: run.Again(s.Name, seed)}
	}
	run.Tally.finish(s.Name, figures, failure)
	if err != nil && run.Failed != nil {
		run.Failed(failure)
	}
}

func (t *Tally) begin(r *Round) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nowOf, t.nowSeed, t.now, t.nowSince = r.Scenario.Name, r.Seed, "begins", time.Now()
	t.round = r
}

func (t *Tally) finish(scenario string, f Figures, failure Failure) {
	t.Merge(scenario, f)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nowOf, t.now, t.round = "", "", nil
	if failure.Error != "" {
		t.failures = append(t.failures, failure)
	}
}

// skip notes why a scenario does not run.
func (t *Tally) skip(scenario string, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.skipped == nil {
		t.skipped = map[string]string{}
	}
	t.skipped[scenario] = why.Error()
}

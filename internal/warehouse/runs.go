package warehouse

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// RunsConfig says what a Runs keeps. The zero value of a limit means its default.
type RunsConfig struct {
	// Names are the statements that have a name, by their text. A statement with
	// another text is counted as one without a name.
	Names map[string]string
	// SlowMin is from which duration on a run is slow: slow runs have a place of their
	// own, from which usual ones do not push them out. Default 250 ms, which a person
	// notices.
	SlowMin time.Duration
	// SlowMax, TenantMax and OtherMax bound how many runs are kept: of the slow ones,
	// of those for one tenant, and of the rest. Defaults 2048, 4096 and 1024, together
	// about 1 MB.
	SlowMax, TenantMax, OtherMax int
	// UnnamedMax bounds how many different statements without a name are told apart.
	// Default 256; texts are made by this program, so there are few.
	UnnamedMax int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// A Run is one statement that was run. Neither its text nor its parameters are kept,
// but for the tenant.
type Run struct {
	// Name is the statement's, "" for one without.
	Name string
	// Tenant is the id of the tenant the statement was for, "" for none or all.
	Tenant string
	// At is when it was sent, Duration how long it took until its answer was read.
	At       time.Time
	Duration time.Duration
	// Rows are those of the answer. RowsRead and BytesRead are what the engine read for
	// them as far as it said so: over HTTP, a server says it when the answer begins.
	Rows, RowsRead, BytesRead uint64
	// Failed: it ended with an error.
	Failed bool
}

// Tally counts the runs of one statement since the start of the process.
type Tally struct {
	Runs, Failed uint64
	// AllTenants are those runs whose parameter tenant was empty or absent.
	AllTenants uint64
	Slowest    time.Duration
}

// Runs remembers what statements were run: counts of all, and the newest runs, the
// slow ones longer. It is safe for use by many goroutines. One lookup by the text and
// one short lock per statement is what it costs.
type Runs struct {
	cfg     RunsConfig
	started time.Time
	named   map[string]*counts // by text; not changed after New

	mu      sync.Mutex // guards what follows
	slow    ring
	tenant  ring
	other   ring
	unnamed map[string]*counts // by text
	beyond  counts             // of texts beyond UnnamedMax
}

// counts is a Tally under way.
type counts struct {
	name                     string
	runs, failed, allTenants atomic.Uint64
	slowest                  atomic.Int64
}

func (c *counts) tally() Tally {
	return Tally{c.runs.Load(), c.failed.Load(), c.allTenants.Load(), time.Duration(c.slowest.Load())}
}

// NewRuns returns a Runs that has seen nothing.
func NewRuns(cfg RunsConfig) *Runs {
	setDefault(&cfg.SlowMin, 250*time.Millisecond)
	setDefault(&cfg.SlowMax, 2048)
	setDefault(&cfg.TenantMax, 4096)
	setDefault(&cfg.OtherMax, 1024)
	setDefault(&cfg.UnnamedMax, 256)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runs{cfg: cfg, started: cfg.Now(), named: make(map[string]*counts, len(cfg.Names)), unnamed: map[string]*counts{},
		slow: ring{max: cfg.SlowMax}, tenant: ring{max: cfg.TenantMax}, other: ring{max: cfg.OtherMax}}
	for text, name := range cfg.Names {
		r.named[text] = &counts{name: name}
	}
	return r
}

// ring keeps the newest max runs.
type ring struct {
	max  int
	runs []Run
	next int // where the next one goes once the ring is full
}

func (b *ring) add(run *Run) {
	if len(b.runs) < b.max {
		b.runs = append(b.runs, *run)
		return
	}
	b.runs[b.next] = *run
	b.next = (b.next + 1) % b.max
}

// oldest is when the oldest run that is kept began, zero while none was pushed out.
func (b *ring) oldest() time.Time {
	if len(b.runs) < b.max {
		return time.Time{}
	}
	return b.runs[b.next].At
}

// running is a statement under way. Nil records nothing.
type running struct {
	runs   *Runs
	counts *counts
	run    Run
	began  time.Time
	rows   uint64
	answer answer
	ended  bool
}

// answer is what the transport learns of a statement; it may be read elsewhere than
// the rows are.
type answer struct{ rowsRead, bytesRead atomic.Uint64 }

type answerKey struct{}

// begin notes that a statement is sent.
func (r *Runs) begin(ctx context.Context, sql string, args []Param) (context.Context, *running) {
	if r == nil {
		return ctx, nil
	}
	s := &running{runs: r, counts: r.countsOf(sql), began: time.Now()}
	s.run.Name, s.run.At = s.counts.name, r.cfg.Now()
	for i := range args {
		if args[i].Name == "tenant" {
			s.run.Tenant, _ = args[i].Value.(string)
		}
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithProgress(func(p *clickhouse.Progress) {
		s.answer.rowsRead.Add(p.Rows)
		s.answer.bytesRead.Add(p.Bytes)
	}))
	return context.WithValue(ctx, answerKey{}, &s.answer), s
}

func (r *Runs) countsOf(sql string) *counts {
	if c := r.named[sql]; c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.unnamed[sql]
	switch {
	case c != nil:
		return c
	case len(r.unnamed) >= r.cfg.UnnamedMax:
		return &r.beyond
	}
	c = &counts{}
	r.unnamed[sql] = c
	return c
}

// end notes that the answer was read, or why not. It may be called more than once.
func (s *running) end(err error) {
	if s == nil || s.ended {
		return
	}
	s.ended = true
	s.run.Duration = time.Since(s.began)
	s.run.Failed = err != nil
	s.run.Rows, s.run.RowsRead, s.run.BytesRead = s.rows, s.answer.rowsRead.Load(), s.answer.bytesRead.Load()
	c := s.counts
	c.runs.Add(1)
	if s.run.Failed {
		c.failed.Add(1)
	}
	if s.run.Tenant == "" {
		c.allTenants.Add(1)
	}
	for was := c.slowest.Load(); int64(s.run.Duration) > was && !c.slowest.CompareAndSwap(was, int64(s.run.Duration)); was = c.slowest.Load() {
	}
	r := s.runs
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case s.run.Duration >= r.cfg.SlowMin:
		r.slow.add(&s.run)
	case s.run.Tenant != "":
		r.tenant.add(&s.run)
	default:
		r.other.add(&s.run)
	}
}

// Observe makes runs the Config.Runs of a database that is open already, and of those
// that ForDatabase opens of it later. Call it before others use db.
func (db *DB) Observe(runs *Runs) { db.cfg.Runs = runs }

// row counts a row of the answer.
func (s *running) row() {
	if s != nil {
		s.rows++
	}
}

// Since is when the counting began.
func (r *Runs) Since() time.Time { return r.started }

// Tallies returns the counts of every statement with a name, by its name.
func (r *Runs) Tallies() map[string]Tally {
	out := make(map[string]Tally, len(r.named))
	for _, c := range r.named {
		out[c.name] = c.tally()
	}
	return out
}

// Unnamed returns the counts of the statements without a name by their text, which
// this process made; and of those beyond the limit.
func (r *Runs) Unnamed() (byText map[string]Tally, beyond Tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byText = make(map[string]Tally, len(r.unnamed))
	for text, c := range r.unnamed {
		byText[text] = c.tally()
	}
	return byText, r.beyond.tally()
}

// Slowest returns the longest runs for a tenant, or of all for "", that began at or
// after a moment, the longest first, at most limit. kept is from when on nothing is
// missing among the usual runs; zero if nothing was pushed out. Slow runs are kept
// longer.
func (r *Runs) Slowest(tenant string, since time.Time, limit int) (found []Run, kept time.Time) {
	r.mu.Lock()
	for _, b := range []*ring{&r.slow, &r.tenant, &r.other} {
		for i := range b.runs {
			if run := &b.runs[i]; (tenant == "" || run.Tenant == tenant) && !run.At.Before(since) {
				found = append(found, *run)
			}
		}
	}
	for _, b := range []*ring{&r.slow, &r.tenant} {
		if oldest := b.oldest(); oldest.After(kept) {
			kept = oldest
		}
	}
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b Run) int {
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), b.At.Compare(a.At), cmp.Compare(a.Name, b.Name))
	})
	return found[:min(limit, len(found))], kept
}

// listening is a transport that hears what the engine says it read for an answer.
type listening struct{ http.RoundTripper }

// summaryHeader carries the engine's counts.
const summaryHeader = "X-Clickhouse-Summary"

func (l listening) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(req)
	if err != nil {
		return res, err
	}
	if a, ok := req.Context().Value(answerKey{}).(*answer); ok {
		a.hear(res.Header.Get(summaryHeader))
	}
	return res, nil
}

func (a *answer) hear(header string) {
	if header == "" {
		return
	}
	var s struct {
		Rows  string `json:"read_rows"`
		Bytes string `json:"read_bytes"`
	}
	if json.Unmarshal([]byte(header), &s) != nil {
		return // it is for people to look at; an answer does not fail over it
	}
	rows, _ := strconv.ParseUint(s.Rows, 10, 64)
	bytes, _ := strconv.ParseUint(s.Bytes, 10, 64)
	a.rowsRead.Store(rows)
	a.bytesRead.Store(bytes)
}

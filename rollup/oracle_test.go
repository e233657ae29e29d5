package rollup_test

import (
	"context"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// The oracle sums up events in the plainest way there is: integers without
// limit, one map, no window kept apart from another.
type oracle map[oracleKey]map[[5]string]*oracleSums

type oracleKey struct{ tenant, grain, window string }

// oracleSums are calls, errors, unpriced, latency, the buckets, pico-USD.
type oracleSums [4 + schemas.BucketCount + 1]big.Int

func (o oracle) add(rows []schemas.Accepted) {
	for i := range rows {
		a := &rows[i]
		at := a.Event.Timestamp()
		for grain, window := range map[string]string{
			"hour": at.Format("2006-01-02T15"), "day": at.Format("2006-01-02") + "T00", "month": at.Format("2006-01") + "-01T00",
		} {
			key := oracleKey{a.Tenant, grain, window}
			if o[key] == nil {
				o[key] = map[[5]string]*oracleSums{}
			}
			e := &a.Event
			names := [5]string{e.Provider, e.Model, e.Department, e.CostCenter, e.Agent}
			if o[key][names] == nil {
				o[key][names] = &oracleSums{}
			}
			o[key][names].add(a)
		}
	}
}

func (s *oracleSums) add(a *schemas.Accepted) {
	plus := func(i int, n int64) { s[i].Add(&s[i], big.NewInt(n)) }
	plus(0, int64(a.Calls))
	if a.Event.Status == "error" {
		plus(1, int64(a.Calls))
	}
	if a.Priced {
		s[13].Add(&s[13], a.Cost.Big())
	} else {
		plus(2, int64(a.Calls))
	}
	plus(3, int64(a.Calls)*a.Event.LatencyMS)
	for b, n := range a.Event.Tokens {
		plus(4+b, n)
	}
}

func (s *oracleSums) isZero() bool {
	return !slices.ContainsFunc(s[:], func(n big.Int) bool { return n.Sign() != 0 })
}

func (s *oracleSums) text() string {
	words := make([]string, len(s))
	for i := range s {
		words[i] = s[i].String()
	}
	return strings.Join(words, " ")
}

// text is every window with its whole breakdown, in order.
func (o oracle) text() string {
	var lines []string
	for key, groups := range o {
		var parts []string
		for names, sums := range groups {
			if !sums.isZero() {
				parts = append(parts, strings.Join(names[:], "|")+" "+sums.text())
			}
		}
		slices.Sort(parts)
		lines = append(lines, fmt.Sprintf("%s %s %s\n  %s", key.tenant, key.grain, key.window, strings.Join(parts, "\n  ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// breakdown is the rollup table in the form of oracle.text.
func (p *project) breakdown() string {
	p.t.Helper()
	rows, err := p.db.Query(context.Background(), `
		SELECT concat(tenant, ' ', toString(grain), ' ', formatDateTime(window, '%Y-%m-%dT%H')),
			arraySort(arrayMap((p, m, d, c, a, n, e, u, l, t1, t2, t3, t4, t5, t6, t7, t8, t9, x) ->
				concat(p, '|', m, '|', d, '|', c, '|', a, ' ', arrayStringConcat(
					arrayMap(v -> toString(v), [n, e, u, l, t1, t2, t3, t4, t5, t6, t7, t8, t9]), ' '), ' ',
					toString(reinterpretAsInt128(x))),
				by.provider, by.model, by.department, by.cost_center, by.agent, by.calls, by.errors, by.unpriced,
				by.latency_ms, by.input_tokens, by.cache_read_tokens, by.cache_write_5m_tokens,
				by.cache_write_1h_tokens, by.output_tokens, by.reasoning_tokens, by.audio_in_tokens,
				by.audio_out_tokens, by.image_tokens, by.cost))
		FROM rollup FINAL`)
	if err != nil {
		p.t.Fatalf("read breakdown: %v", err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var key string
		var parts []string
		if err := rows.Scan(&key, &parts); err != nil {
			p.t.Fatalf("read breakdown: %v", err)
		}
		lines = append(lines, key+"\n  "+strings.Join(parts, "\n  "))
	}
	if err := rows.Err(); err != nil {
		p.t.Fatalf("read breakdown: %v", err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// stream makes up events: calls of all kinds and ages, voids, adjustments,
// levels, without a price now and then, and costs beyond 64 bits.
type stream struct {
	rand  *rand.Rand
	now   time.Time
	seq   uint64
	calls []schemas.Accepted // that can be voided
}

func (s *stream) pick(names ...string) string { return names[s.rand.IntN(len(names))] }

func (s *stream) message() []schemas.Accepted {
	s.seq += 1 + uint64(s.rand.IntN(2)) // some messages hold nothing new
	rows := make([]schemas.Accepted, 1+s.rand.IntN(8))
	for i := range rows {
		rows[i] = s.event()
		rows[i].Seq, rows[i].Idx = s.seq, uint16(i)
		rows[i].Event.ID = fmt.Sprintf("%d-%d", s.seq, i)
		if rows[i].Event.Type == schemas.TypeLLMCall {
			s.calls = append(s.calls, rows[i])
		}
	}
	return rows
}

func (s *stream) event() schemas.Accepted {
	if len(s.calls) > 0 && s.rand.IntN(6) == 0 {
		i := s.rand.IntN(len(s.calls))
		a := s.calls[i]
		s.calls = slices.Delete(s.calls, i, i+1)
		return void(a, 0)
	}
	// Most are from now, some from yesterday, a few from months ago.
	age := time.Duration(s.rand.Int64N(int64([]time.Duration{time.Hour, 36 * time.Hour, 70 * 24 * time.Hour}[s.rand.IntN(3)])))
	a := call(s.pick("acme", "beta", "tenant'\\ü"), 0, s.now.Add(-age).Truncate(time.Millisecond), s.pick("opus", "haiku", "gpt", ""), 0, 0)
	e := &a.Event
	e.Provider, e.Department = s.pick("anthropic", "openai"), s.pick("", "sales", "r&d")
	e.CostCenter, e.Agent = s.pick("", "42"), s.pick("", "support", "review")
	e.Status, e.LatencyMS = s.pick("ok", "error", "cancelled"), s.rand.Int64N(100_000)
	for b := range e.Tokens {
		if s.rand.IntN(3) == 0 {
			e.Tokens[b] = s.rand.Int64N(schemas.TokensPerBucketMax)
		}
	}
	a.Cost = schemas.Mul(s.rand.Int64(), 1+s.rand.Int64N(1000))
	switch s.rand.IntN(8) {
	case 0:
		a.Priced, a.Cost = false, schemas.Money{}
	case 1:
		e.Type, a.Calls, e.Tokens, e.LatencyMS = schemas.TypeAdjustment, 0, e.Tokens.Negate(), 0
		a.Cost = a.Cost.Neg()
	case 2:
		e.Type, a.Calls, e.Tokens, a.Cost, e.LatencyMS = schemas.TypeResourceSample, 0, schemas.Tokens{}, schemas.Money{}, 0
		e.Units = []schemas.Unit{{Name: schemas.LevelAgents, Count: s.rand.Int64N(9)}, {Name: schemas.LevelStorageBytes, Count: s.rand.Int64N(1 << 50)}}
	}
	return a
}

var seedFlag = flag.Uint64("seed", 0, "repeat the random test of this seed; 0 takes another each time")

// TestEverySumIsTheSame lets a random stream through everything that sums it up:
// the fold that is fed live, one that is rebuilt from usage_raw, the hours, days
// and months of the rollups, the readers of both, and verify; with the crashes
// of a writer in between. All must say what the oracle says.
func TestEverySumIsTheSame(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -run %s -seed %d", t.Name(), seed)
	now := time.Now().UTC()
	p := newProject(t)
	s := &stream{rand: rand.New(rand.NewPCG(seed, 0)), now: now}
	want := oracle{}
	fold := aggregate.NewFold(aggregate.DefaultFoldLimits(), aggregate.Keep{})
	live := aggregate.NewLive(aggregate.LiveConfig{Now: func() time.Time { return now }}, aggregate.NewLiveTables(p.db, nil))
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := worker(p)
	for range 4 {
		for range 1 + s.rand.IntN(3) {
			rows := []schemas.Accepted{}
			for range 1 + s.rand.IntN(6) {
				rows = append(rows, s.message()...)
			}
			from := p.next
			// A writer that died after part of its insert, or after its commit.
			if s.rand.IntN(2) == 0 {
				p.insert(rows[:1+s.rand.IntN(len(rows))])
			}
			p.commit(s.seq, rows...)
			if s.rand.IntN(3) == 0 {
				p.insert(rows)
				p.ledger(from, s.seq, rows)
				live.Apply(rows, s.seq)
			}
			live.Apply(rows, s.seq)
			fold.Apply(rows, s.seq)
			want.add(rows)
		}
		p.pass(w)
		if diff := cmp.Diff(want.text(), p.breakdown()); diff != "" {
			t.Fatalf("rollups -oracle +got:\n%s", diff)
		}
		compareFold(t, want, fold)
	}
	compareReaders(t, p, fold, live)
	report, err := rollup.NewVerifier(rollup.VerifyConfig{}, p.db).Verify(t.Context(), rollup.VerifyOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range report.Checks {
		// The test has no keys table; the rest must agree.
		if check.Name != "keys = raw" && !check.OK() {
			t.Errorf("verify, %s: %+v", check.Name, check)
		}
	}
}

// compareFold compares all months and days of a fold with the oracle.
func compareFold(t *testing.T, want oracle, fold *aggregate.Fold) {
	t.Helper()
	got := oracle{}
	for key := range want {
		if key.grain == "hour" {
			got[key] = want[key]
			continue
		}
		got[key] = map[[5]string]*oracleSums{}
		start, err := time.Parse("2006-01-02T15", key.window)
		if err != nil {
			t.Fatal(err)
		}
		window := schemas.Window{Grain: schemas.Grain(key.grain), Start: start}
		groups, total := fold.Groups(key.tenant, window, schemas.Dimensions())
		var sum aggregate.Totals
		for _, g := range groups {
			sum.Add(&g.Totals)
			got[key][[5]string(g.Names)] = sumsOf(&g.Totals)
		}
		if sum != total || total != fold.Totals(key.tenant, window) {
			t.Errorf("%v: the groups add up to %+v, the total is %+v", key, sum, total)
		}
	}
	if diff := cmp.Diff(want.text(), got.text()); diff != "" {
		t.Fatalf("fold -oracle +got:\n%s", diff)
	}
}

func sumsOf(t *aggregate.Totals) *oracleSums {
	var s oracleSums
	for i, n := range []int64{t.Calls, t.Errors, t.Unpriced, t.LatencyMS} {
		s[i].SetInt64(n)
	}
	for b, n := range t.Tokens {
		s[4+b].SetInt64(n)
	}
	s[13].Set(t.Cost.Big())
	return &s
}

// compareReaders asks for every month and the last days from the live totals, from
// ones rebuilt from events, and from the rollups; the fold has been compared with
// the oracle.
func compareReaders(t *testing.T, p *project, fold *aggregate.Fold, live *aggregate.Live) {
	t.Helper()
	now := time.Now().UTC()
	rebuilt := aggregate.NewLive(aggregate.LiveConfig{Now: func() time.Time { return now }}, aggregate.NewLiveTables(p.db, nil))
	if err := rebuilt.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	readers := map[string]*aggregate.Reader{
		"live":    aggregate.NewReader(aggregate.ReaderConfig{Live: live}, p.db),
		"rebuilt": aggregate.NewReader(aggregate.ReaderConfig{Live: rebuilt}, p.db),
		"rollup":  aggregate.NewReader(aggregate.ReaderConfig{}, p.db),
	}
	by := []schemas.Dimension{schemas.ByModel, schemas.ByDepartment}
	month := schemas.WindowOf(schemas.GrainMonth, now)
	for _, tenant := range fold.Tenants() {
		for _, window := range []schemas.Window{
			month, {Grain: schemas.GrainMonth, Start: month.Start.AddDate(0, -1, 0)}, {Grain: schemas.GrainMonth, Start: month.Start.AddDate(0, -2, 0)},
			schemas.WindowOf(schemas.GrainDay, now), schemas.WindowOf(schemas.GrainDay, now.AddDate(0, 0, -1)),
		} {
			groups, total := fold.Groups(tenant, window, by)
			for name, reader := range readers {
				got, err := reader.Usage(t.Context(), aggregate.Query{Tenant: tenant, Window: window, By: by, Fresh: true})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(aggregate.Result{Groups: groups, Total: total}, aggregate.Result{Groups: got.Groups, Total: got.Total},
					cmp.Comparer(func(a, b schemas.Money) bool { return a == b }), cmp.Transformer("empty", func(g []aggregate.Group) map[string]aggregate.Totals {
						m := map[string]aggregate.Totals{}
						for i := range g {
							m[fmt.Sprint(i, g[i].Names)] = g[i].Totals
						}
						return m
					})); diff != "" {
					t.Errorf("%s %s from %s (%s) -fold +got:\n%s", tenant, window, name, got.Source, diff)
				}
				if got.AsOf.Seq != fold.Position() {
					t.Errorf("%s %s from %s is as of %d, not %d", tenant, window, name, got.AsOf.Seq, fold.Position())
				}
			}
		}
		levels, _, _ := live.Levels(tenant)
		again, _, _ := rebuilt.Levels(tenant)
		if diff := cmp.Diff(levels, again); diff != "" {
			t.Errorf("levels of %s -live +rebuilt:\n%s", tenant, diff)
		}
	}
}

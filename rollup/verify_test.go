package rollup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// memoryLog is a log by its counts: the events of message first+i.
type memoryLog struct {
	first  uint64
	events []int
}

func (l *memoryLog) Bounds(context.Context) (first, last uint64, err error) {
	return l.first, l.first + uint64(len(l.events)) - 1, nil
}

func (l *memoryLog) Counts(_ context.Context, from, to uint64, each func(uint64, int) error) error {
	for seq := max(from, l.first); seq <= to && seq < l.first+uint64(len(l.events)); seq++ {
		if n := l.events[seq-l.first]; n >= 0 { // -1: erased
			if err := each(seq, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// verifyRanges is enough ranges that a difference is narrowed down twice.
const verifyRanges = 150

// verifyCall is the one event of range seq.
func verifyCall(seq uint64) schemas.Accepted {
	return call("t"+decimal(seq%3), seq, may.Add(time.Duration(seq)*11*time.Hour), "opus", int64(seq), int64(seq))
}

func verifyProject(t *testing.T) (*project, *memoryLog) {
	t.Helper()
	p := newProject(t)
	log := &memoryLog{first: 1}
	var all []schemas.Accepted
	for seq := uint64(1); seq <= verifyRanges; seq++ {
		all = append(all, verifyCall(seq))
		log.events = append(log.events, 1)
	}
	all = append(all, void(all[0], verifyRanges+1))
	log.events = append(log.events, 1)
	p.insert(all)
	p.ledgerEach(all)
	p.keys(all)
	p.pass(worker(p))
	return p, log
}

// ledgerEach commits each row as a range of its own.
func (p *project) ledgerEach(rows []schemas.Accepted) {
	p.t.Helper()
	// In one insert, from a statement: a hundred inserts take seconds.
	n := len(rows)
	from, hash, calls, tokens := make([]uint64, n), make([]uint64, n), make([]int64, n), make([]int64, n)
	tenants, hours, cost := make([][]string, n), make([][]time.Time, n), make([]schemas.Money, n)
	shard, one, at := make([]uint32, n), make([]uint64, n), make([]time.Time, n)
	for i := range rows {
		a := &rows[i]
		from[i], hash[i], calls[i], tokens[i] = a.Seq, rowHash(a), int64(a.Calls), a.Event.Tokens.Total()
		tenants[i], hours[i] = []string{a.Tenant}, []time.Time{a.Event.Timestamp().Truncate(time.Hour)}
		cost[i], one[i], at[i] = a.Cost, 1, may
	}
	err := p.db.Insert(context.Background(), "ledger",
		warehouse.Column{Name: "shard", Values: shard}, warehouse.Column{Name: "from_seq", Values: from},
		warehouse.Column{Name: "to_seq", Values: from}, warehouse.Column{Name: "messages", Values: one},
		warehouse.Column{Name: "events", Values: one}, warehouse.Column{Name: "accepted", Values: one},
		warehouse.Column{Name: "calls", Values: calls}, warehouse.Column{Name: "tokens", Values: tokens},
		warehouse.Column{Name: "cost", Values: cost}, warehouse.Column{Name: "row_hash", Values: hash},
		warehouse.Column{Name: "committed_at", Values: at}, warehouse.Column{Name: "dirty_tenants", Values: tenants},
		warehouse.Column{Name: "dirty_hours", Values: hours})
	if err != nil {
		p.t.Fatalf("insert ledger: %v", err)
	}
	p.next = rows[n-1].Seq + 1
}

// keys claims an identity for every row, and one more for a void.
func (p *project) keys(rows []schemas.Accepted) {
	p.t.Helper()
	var keys [][16]byte
	var seqs []uint64
	claim := func(seq uint64, kind string) {
		var key [16]byte
		copy(key[:], fmt.Sprintf("%s-%d", kind, seq))
		keys, seqs = append(keys, key), append(seqs, seq)
	}
	for i := range rows {
		claim(rows[i].Seq, "event")
		if rows[i].Event.Type == schemas.TypeVoid {
			claim(rows[i].Seq, "void")
		}
	}
	err := p.db.Insert(context.Background(), "usage_keys", warehouse.Column{Name: "key", Values: keys},
		warehouse.Column{Name: "content", Values: seqs}, warehouse.Column{Name: "seq", Values: seqs})
	if err != nil {
		p.t.Fatalf("insert keys: %v", err)
	}
}

func (p *project) verify(log rollup.LogReader, opts rollup.VerifyOptions) rollup.Report {
	p.t.Helper()
	report, err := rollup.NewVerifier(rollup.VerifyConfig{Log: log}, p.db).Verify(context.Background(), opts, nil)
	if err != nil {
		p.t.Fatalf("verify: %v", err)
	}
	return report
}

func reportText(r *rollup.Report) string {
	var out strings.Builder
	for i := range r.Checks {
		c := &r.Checks[i]
		fmt.Fprintf(&out, "%s: %s %v %v\n", c.Name, c.Verdict(), c.Numbers, c.Notes)
		for _, f := range c.Findings {
			fmt.Fprintf(&out, "  {From:%d To:%d Tenant:%s Window:%s Side:%s Detail:%s}\n", f.From, f.To, f.Tenant, f.Window, f.Side, f.Detail)
		}
	}
	return out.String()
}

func TestVerifyFindsNothingInWhatIsWhole(t *testing.T) {
	p, log := verifyProject(t)
	// Copies, and a range that is being written, are no fault.
	p.insert([]schemas.Accepted{call("t2", 2, may.Add(22*time.Hour), "opus", 2, 2), call("t9", verifyRanges+2, may, "opus", 1, 1)})
	seen := map[string]bool{}
	report, err := rollup.NewVerifier(rollup.VerifyConfig{Log: log}, p.db).Verify(t.Context(), rollup.VerifyOptions{},
		func(check string, done, total uint64) { seen[check] = seen[check] || done == total })
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || len(report.Checks) != 10 {
		t.Errorf("the report:\n%s", reportText(&report))
	}
	for _, c := range report.Checks {
		if !seen[c.Name] {
			t.Errorf("%s told no progress", c.Name)
		}
	}
	text := reportText(&report)
	for _, want := range []string{"1 copies", "1 rows lie beyond the ledger", "{keys 152} {events 151} {voids 1}"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	part := p.verify(log, rollup.VerifyOptions{From: 20, To: 40})
	if !part.OK() || part.From != 20 || part.To != 40 || len(part.Checks) != 6 {
		t.Errorf("a part:\n%s", reportText(&part))
	}
	noLog := p.verify(nil, rollup.VerifyOptions{})
	if !noLog.OK() || noLog.Checks[2].Verdict() != "skipped" {
		t.Errorf("without a log:\n%s", reportText(&noLog))
	}
}

func TestVerifySaysWhere(t *testing.T) {
	p, log := verifyProject(t)
	late := may.Add(77 * 11 * time.Hour)
	window := schemas.WindowOf(schemas.GrainHour, late).String()
	if report := p.verify(log, rollup.VerifyOptions{}); !report.OK() {
		t.Fatalf("before any damage:\n%s", reportText(&report))
	}
	// Each damage is mended again, so that all cases share one database.
	row := call("t"+decimal(77%3), 77, late, "opus", 77, 77)
	other := row
	other.Cost = schemas.Pico(78)
	drop := "ALTER TABLE usage_raw DELETE WHERE rank = bitNot(toUInt64(77))"
	for _, c := range []struct {
		name         string
		damage, mend func()
		want         string
	}{
		{"a row is missing", func() { p.exec(drop) }, func() { p.insert([]schemas.Accepted{row}) },
			"ledger = raw: differs|From:77 To:77 Tenant:t2 (not in raw)|Side:raw|keys = raw: differs|raw = hours: differs|Tenant:t2 Window:" + window},
		{"another row", func() { p.exec(drop); p.insert([]schemas.Accepted{other}) },
			func() { p.exec(drop); p.insert([]schemas.Accepted{row}) }, "ledger = raw: differs|From:77 To:77 Tenant:t2 |Side:both"},
		{"a row too many", func() { p.insert([]schemas.Accepted{call("evil", 80, late, "opus", 1, 1)}) },
			func() { p.exec("ALTER TABLE usage_raw DELETE WHERE tenant = 'evil'") },
			"From:80 To:80 Tenant:evil (not in ledger)|Side:ledger|Tenant:evil Window:" + window + " Side:hours"},
		{"a key is missing", func() { p.exec("ALTER TABLE usage_keys DELETE WHERE seq = 5") },
			func() { p.keys([]schemas.Accepted{{Seq: 5}}) }, "keys = raw: differs|From:5 To:5|Side:keys"},
		{"an hour is lost", func() { p.exec("ALTER TABLE rollup DELETE WHERE grain = 'hour' AND tenant = 't2' AND tokens = 77") },
			nil, "raw = hours: differs|Side:hours|hours = days: differs|days = months: ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.damage()
			report := p.verify(log, rollup.VerifyOptions{})
			text := reportText(&report)
			for want := range strings.SplitSeq(c.want, "|") {
				if report.OK() || !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if c.mend != nil {
				c.mend()
				if report := p.verify(log, rollup.VerifyOptions{}); !report.OK() {
					t.Fatalf("after the damage was mended:\n%s", reportText(&report))
				}
			}
		})
	}
}

func TestVerifyComparesTheLog(t *testing.T) {
	p, _ := verifyProject(t)
	counts := func(change func(l *memoryLog)) *memoryLog {
		l := &memoryLog{first: 1}
		for range verifyRanges + 1 {
			l.events = append(l.events, 1)
		}
		change(l)
		return l
	}
	for name, c := range map[string]struct {
		log  *memoryLog
		want string
	}{
		"an event more":  {counts(func(l *memoryLog) { l.events[40] = 2 }), "From:41 To:41 Tenant: Window: Side:ledger"},
		"a message less": {counts(func(l *memoryLog) { l.events[40] = -1 }), "From:41 To:41 Tenant: Window: Side:log"},
		"rolled back":    {counts(func(l *memoryLog) { l.events = l.events[:100] }), "From:101 To:151 Tenant: Window: Side:log"},
		"trimmed":        {counts(func(l *memoryLog) { l.first, l.events = 51, l.events[50:] }), "50 ranges are older than the log"},
	} {
		report := p.verify(c.log, rollup.VerifyOptions{From: 1})
		text := reportText(&report)
		if report.OK() != (name == "trimmed") || !strings.Contains(text, c.want) {
			t.Errorf("%s: no %q in\n%s", name, c.want, text)
		}
	}
	p.ledger(verifyRanges+5, verifyRanges+6, nil)
	report := p.verify(nil, rollup.VerifyOptions{})
	if report.OK() || !strings.Contains(reportText(&report), "a gap: after 151 comes the range 155 to 156") {
		t.Errorf("a gap:\n%s", reportText(&report))
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	p, log := verifyProject(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := rollup.NewVerifier(rollup.VerifyConfig{Log: log}, p.db).Verify(ctx, rollup.VerifyOptions{}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
}

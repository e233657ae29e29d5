package torture

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// sample is an event of a book, numbered.
func sample(n int) Event {
	e := Event{Source: source, ID: fmt.Sprint("e-", n), Type: schemas.TypeLLMCall, At: time.Date(2026, 3, 4, 5, 6, n, 0, time.UTC),
		Model: "claude-haiku-4-5", Department: "d1-secret"}
	e.Adds = Amount{Calls: 1, Pico: int64(n) * 1_000_000}
	e.Adds.Tokens[schemas.Input] = int64(n)
	return e
}

// row is what the engine has of an event that was stored well.
func row(e *Event) storedRow {
	r := storedRow{Source: e.Source, ID: e.ID, Type: string(e.Type), Model: e.Model, Department: e.Department,
		Millis: strconv.FormatInt(e.At.UnixMilli(), 10), Calls: strconv.FormatInt(e.Adds.Calls, 10), Cost: fmt.Sprintf("0.%012d", e.Adds.Pico)}
	for _, n := range e.Adds.Tokens {
		r.Tokens = append(r.Tokens, strconv.FormatInt(n, 10))
	}
	if e.Adds.Pico < 0 {
		r.Cost = fmt.Sprintf("-0.%012d", -e.Adds.Pico)
	}
	return r
}

// scene is a tenant's book and what the tables have of it: an acknowledged event, an
// unknown one that counts, an unknown one that does not, a refused one, one that is
// taken back, poison on a NATS message, and other content under an id that is taken.
func scene() (*Tenant, *found) {
	t := &Tenant{ID: "t1", Slug: "acme", Secret: "secret", Book: NewBook("t1", "secret")}
	f := &found{rows: map[string][]storedRow{}, quarantined: map[string]int{}, conflicts: map[string]int{}}
	store := func(e Event) { f.rows[key(e.Source, e.ID)] = []storedRow{row(&e)} }
	acked, counted, absent, refused, target, poison := sample(1), sample(2), sample(3), sample(4), sample(5), sample(6)
	void := sample(7)
	void.Type, void.Corrects, void.At, void.Adds = schemas.TypeVoid, target.ID, target.At, target.Adds.Negated()
	poison.Poison = true
	for _, e := range []Event{acked, counted, absent, refused, target, poison} {
		t.Book.Sending(Batch{e})
	}
	t.Book.OK(Batch{acked, target, poison}, 9)
	t.Book.Failed(Batch{refused})
	t.Book.Sending(Batch{void})
	t.Book.OK(Batch{void}, 12)
	t.Book.Lie(Batch{acked})
	t.Book.Lied(Batch{acked})
	for _, e := range []Event{acked, counted, target, void} {
		store(e)
	}
	f.quarantined[key(poison.Source, poison.ID)] = 1
	f.conflicts[key(acked.Source, acked.ID)] = 1
	return t, f
}

// TestEventsAreJudged: the checker is silent about what is right, and catches each
// single thing that is wrong.
func TestEventsAreJudged(t *testing.T) {
	t.Parallel()
	k := func(n int) string { return key(source, fmt.Sprint("e-", n)) }
	for _, c := range []struct {
		name   string
		change func(*Tenant, *found)
		want   string // the beginning of the only finding; "" is none
	}{
		{"right", func(*Tenant, *found) {}, ""},
		{"acknowledged and absent", func(_ *Tenant, f *found) { delete(f.rows, k(1)) }, "lost: llm.call e-1"},
		{"counted twice", func(_ *Tenant, f *found) { f.rows[k(1)] = append(f.rows[k(1)], f.rows[k(1)]...) }, "doubled: llm.call e-1"},
		{"unknown and counted twice", func(_ *Tenant, f *found) { f.rows[k(2)] = append(f.rows[k(2)], f.rows[k(2)]...) }, "doubled: llm.call e-2"},
		{"unknown and absent", func(_ *Tenant, f *found) { delete(f.rows, k(2)) }, ""},
		{"refused and counted", func(_ *Tenant, f *found) { e := sample(4); f.rows[k(4)] = []storedRow{row(&e)} }, "wrong: llm.call e-4"},
		{"poison counts", func(_ *Tenant, f *found) { e := sample(6); f.rows[k(6)] = []storedRow{row(&e)} }, "wrong: llm.call e-6"},
		{"poison is nowhere", func(_ *Tenant, f *found) { delete(f.quarantined, k(6)) }, "lost: llm.call e-6"},
		{"a good event in quarantine", func(_ *Tenant, f *found) { f.quarantined[k(2)] = 1 }, "wrong: the quarantine"},
		{"more in quarantine than was sent", func(_ *Tenant, f *found) { f.quarantined[k(6)] = 2 }, "wrong: the quarantine"},
		{"void does not count", func(_ *Tenant, f *found) { delete(f.rows, k(7)); f.quarantined[k(7)] = 1 }, "lost: llm.call e-5"},
		{"a conflict is missing", func(_ *Tenant, f *found) { delete(f.conflicts, k(1)) }, "lost: other content"},
		{"a conflict too many", func(_ *Tenant, f *found) { f.conflicts[k(2)] = 1 }, "wrong: the conflicts"},
		{"other tokens", func(_ *Tenant, f *found) { f.rows[k(1)][0].Tokens[0] = "2" }, "wrong: llm.call e-1"},
		{"other cost", func(_ *Tenant, f *found) { f.rows[k(1)][0].Cost = "0.000001000001" }, "wrong: llm.call e-1"},
		{"other hour", func(_ *Tenant, f *found) { f.rows[k(1)][0].Millis = "1" }, "wrong: llm.call e-1"},
		{"other department", func(_ *Tenant, f *found) { f.rows[k(1)][0].Department = "d2" }, "wrong: llm.call e-1"},
		{"a void that counts twice", func(b *Tenant, f *found) {
			v := sample(8)
			v.Type, v.Corrects, v.Adds = schemas.TypeVoid, "e-5", sample(5).Adds.Negated()
			b.Book.Sending(Batch{v})
			f.rows[k(8)] = []storedRow{row(&v)}
		}, "doubled: llm.call e-5"},
		{"a void of nothing counts", func(b *Tenant, f *found) {
			v := sample(8)
			v.Type, v.Corrects = schemas.TypeVoid, "never"
			b.Book.Sending(Batch{v})
			f.rows[k(8)] = []storedRow{row(&v)}
		}, "wrong: void e-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tenant, f := scene()
			c.change(tenant, f)
			check := &checker{verdict: &Verdict{}}
			for _, e := range tenant.Book.order {
				check.entry(tenant, f, e, newOracle())
			}
			check.rejects(tenant, f)
			lines := check.verdict.Lines()
			switch {
			case c.want == "" && len(lines) > 0, c.want != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0], c.want)):
				t.Errorf("found %q, not %q", lines, c.want)
			case (check.verdict.Err() != nil) != (c.want != ""):
				t.Errorf("error %v", check.verdict.Err())
			}
		})
	}
}

func TestSumsAreCompared(t *testing.T) {
	t.Parallel()
	o := newOracle()
	for n := range 5 {
		e := sample(n)
		o.add(&e)
	}
	got := map[string]*Sum{"2026-03": {}}
	for n := range 5 {
		got["2026-03"].Add(sample(n).Adds)
	}
	v := &Verdict{}
	if compare(v, "usage", o.months, got); v.Err() != nil {
		t.Error(v.Err())
	}
	got["2026-03"].Add(Amount{Pico: 1})
	if compare(v, "usage", o.months, got); len(v.Wrong) != 1 || !strings.Contains(v.Wrong[0], "10000000 expected, 10000001 found") {
		t.Error(v.Wrong)
	}
	v, got = &Verdict{}, map[string]*Sum{"2026-02": {}}
	got["2026-02"].Add(Amount{Calls: 1})
	if compare(v, "usage", o.months, got); len(v.Wrong) != 2 {
		t.Errorf("a month too many and one too few: %q", v.Wrong)
	}
}

// answer is an answer of GET /v1/usage with so many calls, as of a position.
func answer(calls, rows int, seq uint64, words string) *Answer {
	return &Answer{Status: 200, Body: fmt.Appendf(nil,
		`{"source":"live","as_of":{"seq":%d},"words":%q,"total":{"calls":%d,"tokens":{},"cost":"0"},"rows":[{"model":"m","calls":%d,"tokens":{},"cost":"0"}]}`,
		seq, words, calls, rows)}
}

func TestAnswersAreJudged(t *testing.T) {
	t.Parallel()
	tenant, _ := scene()
	other := &Tenant{ID: "t2", Slug: "globex", Secret: "hidden"}
	low, high := &Sum{}, &Sum{}
	low.Add(Amount{Calls: 2})
	high.Add(Amount{Calls: 4})
	for _, c := range []struct {
		name, path string
		answer     *Answer
		want       string
	}{
		{"right", "/v1/usage", answer(3, 0, 7, ""), ""},
		{"right with rows", "/v1/usage?&by=model", answer(3, 3, 7, ""), ""},
		{"too few", "/v1/usage", answer(1, 0, 7, ""), "is not within 2 and 4"},
		{"too many", "/v1/usage", answer(5, 0, 7, ""), "is not within 2 and 4"},
		{"rows that do not add up", "/v1/usage?&by=model", answer(3, 2, 7, ""), "do not add up"},
		{"another tenant's words", "/v1/usage", answer(3, 0, 7, "d1-hidden"), "words of globex"},
		{"another tenant's id", "/v1/usage", answer(3, 0, 7, "t2"), "words of globex"},
		{"back in time", "/v1/usage", answer(3, 0, 5, ""), "went back from 6"},
		{"refused", "/v1/usage", &Answer{Status: 404}, "not an answer"},
	} {
		r := &Reader{Tenants: []*Tenant{tenant, other}, seen: map[string]readPosition{"t1live": {0, 6}}}
		if got := r.judge(tenant, c.path, c.answer, low, high); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// TestBounds: what a reader may see between what is sure and what is possible.
func TestBounds(t *testing.T) {
	t.Parallel()
	b := NewBook("t1", "secret")
	calls := func(l Look, fresh bool) string {
		low, high := l.Within(fresh)
		return low.fields[0].String() + " to " + high.fields[0].String()
	}
	look := b.Look("2026-03")
	b.Sending(Batch{sample(1), sample(2)})
	if got := calls(look, true); got != "0 to 2" {
		t.Errorf("sent: %s", got)
	}
	b.OK(Batch{sample(1), sample(2)}, 3)
	if got := calls(look, true); got != "0 to 2" {
		t.Errorf("acknowledged after the question: %s", got)
	}
	look = b.Look("2026-03")
	if got := calls(look, true); got != "2 to 2" {
		t.Errorf("acknowledged before it: %s", got)
	}
	if got := calls(look, false); got != "0 to 2" {
		t.Errorf("not fresh: %s", got)
	}
	v := sample(3)
	v.Type, v.Corrects, v.At, v.Adds = schemas.TypeVoid, "e-1", sample(1).At, sample(1).Adds.Negated()
	b.Sending(Batch{v})
	if got := calls(look, true); got != "1 to 2" {
		t.Errorf("perhaps taken back: %s", got)
	}
	b.OK(Batch{v}, 4)
	if got := calls(b.Look("2026-03"), true); got != "1 to 1" {
		t.Errorf("taken back: %s", got)
	}
	again := v
	again.ID = "e-4"
	b.Sending(Batch{again})
	b.OK(Batch{again}, 5)
	if got := calls(b.Look("2026-03"), true); got != "1 to 1" {
		t.Errorf("taken back twice: %s", got)
	}
}

package aggregate

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests get into testdata")

// TestFoldTables runs the files in testdata/fold. A file is commands and, after
// each that asks, what the fold answers, indented by two spaces. Commands:
//
//	keep 2026-05                        the current month is this one, today is its last day
//	limit 2                             combinations per tenant
//	apply 7                             the commit of the events since the one before, at this position
//	event acme seq=1 at=2026-05-03T10:00 model=opus tokens=100 cost=0.5
//	totals acme 2026-05
//	groups acme 2026-05 model,agent
//	levels acme
//	size
func TestFoldTables(t *testing.T) {
	files, err := filepath.Glob("testdata/fold/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runFoldTable(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("-want +got; go test -rewrite accepts it:\n%s", diff)
			}
		})
	}
}

type foldTable struct {
	t       *testing.T
	fold    *Fold
	limits  FoldLimits
	pending []schemas.Accepted
	out     strings.Builder
}

func runFoldTable(t *testing.T, text string) string {
	table := &foldTable{t: t, limits: DefaultFoldLimits()}
	table.fold = NewFold(table.limits, Keep{})
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue // an answer; it is written anew
		}
		fmt.Fprintln(&table.out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		table.run(strings.Fields(line))
	}
	return table.out.String()
}

func (f *foldTable) run(words []string) {
	switch words[0] {
	case "keep":
		f.fold.Advance(KeepAt(parseWindow(f.t, words[1]).End().Add(-time.Second)))
	case "limit":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			f.t.Fatal(err)
		}
		f.limits.CombosPerTenantMax = n
		f.fold = NewFold(f.limits, Keep{})
	case "event":
		f.pending = append(f.pending, parseEvent(f.t, words[1:]))
	case "apply":
		position, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintf(&f.out, "  added %d, position %d\n", f.fold.Apply(f.pending, position), f.fold.Position())
		f.pending = nil
	case "totals":
		w := parseWindow(f.t, words[2])
		totals := f.fold.Totals(words[1], w)
		fmt.Fprintf(&f.out, "  %s\n", totalsText(&totals))
		if !f.fold.Keeps(w) {
			fmt.Fprintln(&f.out, "  not kept")
		}
	case "groups":
		var by []schemas.Dimension
		for word := range strings.SplitSeq(words[3], ",") {
			d, err := schemas.ParseDimension(word)
			if err != nil {
				f.t.Fatal(err)
			}
			by = append(by, d)
		}
		w := parseWindow(f.t, words[2])
		groups, total := f.fold.Groups(words[1], w, by)
		for i := range groups {
			fmt.Fprintf(&f.out, "  %-24s %s\n", strings.Join(groups[i].Names, " | "), totalsText(&groups[i].Totals))
		}
		fmt.Fprintf(&f.out, "  total %s\n", totalsText(&total))
		if !f.fold.Exact(words[1], w) {
			fmt.Fprintln(&f.out, "  some combinations share a group")
		}
	case "levels":
		for _, l := range f.fold.Levels(words[1]) {
			fmt.Fprintf(&f.out, "  %s = %d at %s\n", l.Name, l.Value, time.UnixMilli(l.Time).UTC().Format("2006-01-02T15:04"))
		}
	case "size":
		size := f.fold.Size()
		fmt.Fprintf(&f.out, "  %d tenants, %d combinations, %d names\n", size.Tenants, size.Combos, size.Names)
	default:
		f.t.Fatalf("%q is not a command", words[0])
	}
}

func totalsText(t *Totals) string {
	return fmt.Sprintf("calls %d errors %d unpriced %d latency %d tokens %d in %d out %d cost %s",
		t.Calls, t.Errors, t.Unpriced, t.LatencyMS, t.Tokens.Total(), t.Tokens.InputTotal(), t.Tokens.OutputTotal(), t.Cost)
}

func parseWindow(t *testing.T, s string) schemas.Window {
	t.Helper()
	for _, form := range []struct {
		grain  schemas.Grain
		layout string
	}{{schemas.GrainMonth, "2006-01"}, {schemas.GrainDay, "2006-01-02"}, {schemas.GrainHour, "2006-01-02T15"}} {
		if at, err := time.Parse(form.layout, s); err == nil {
			return schemas.Window{Grain: form.grain, Start: at}
		}
	}
	t.Fatalf("%q is not a window", s)
	return schemas.Window{}
}

// parseEvent reads an accepted event: a tenant and name=value words. tokens are
// input tokens, out output tokens; without cost it is unpriced.
func parseEvent(t *testing.T, words []string) schemas.Accepted {
	t.Helper()
	a := schemas.Accepted{Tenant: words[0], Calls: 1, Event: schemas.Event{Type: schemas.TypeLLMCall}}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "seq":
			a.Seq = uint64(number(value))
		case "idx":
			a.Idx = uint16(number(value))
		case "at":
			at, err := time.Parse("2006-01-02T15:04", value)
			if err != nil {
				t.Fatal(err)
			}
			a.Event.Time = at.UnixMilli()
		case "type":
			a.Event.Type = schemas.EventType(value)
		case "calls":
			a.Calls = int8(number(value))
		case "provider":
			a.Event.Provider = value
		case "model":
			a.Event.Model = value
		case "department":
			a.Event.Department = value
		case "agent":
			a.Event.Agent = value
		case "status":
			a.Event.Status = value
		case "latency":
			a.Event.LatencyMS = number(value)
		case "tokens":
			a.Event.Tokens[schemas.Input] = number(value)
		case "out":
			a.Event.Tokens[schemas.Output] = number(value)
		case "cost":
			money, err := schemas.ParseMoney(value)
			if err != nil {
				t.Fatal(err)
			}
			a.Cost, a.Priced = money, true
		case "storage":
			a.Event.Units = append(a.Event.Units, schemas.Unit{Name: schemas.LevelStorageBytes, Count: number(value)})
		case "agents":
			a.Event.Units = append(a.Event.Units, schemas.Unit{Name: schemas.LevelAgents, Count: number(value)})
		default:
			t.Fatalf("%q is not part of an event", name)
		}
	}
	return a
}

func TestFoldRefusesARowBeyondItsPosition(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row of message 8 was applied with position 7")
		}
	}()
	fold := NewFold(DefaultFoldLimits(), Keep{})
	fold.Apply([]schemas.Accepted{{Tenant: "acme", Seq: 8}}, 7)
}

func TestFoldDoesNotKeepTheEventsMemory(t *testing.T) {
	row := schemas.Accepted{Tenant: strings.Clone("acme"), Seq: 1, Calls: 1, Event: schemas.Event{Model: strings.Clone("opus")}}
	fold := NewFold(DefaultFoldLimits(), Keep{})
	fold.Apply([]schemas.Accepted{row}, 1)
	// A decoder may hand out slices of a request body of a megabyte.
	groups, _ := fold.Groups("acme", parseWindow(t, "1970-01"), []schemas.Dimension{schemas.ByModel})
	if name := groups[0].Names[0]; name != "opus" || unsafe.StringData(name) == unsafe.StringData(row.Event.Model) {
		t.Errorf("the name %q is the event's own memory", name)
	}
	if tenant := fold.Tenants()[0]; tenant != "acme" || unsafe.StringData(tenant) == unsafe.StringData(row.Tenant) {
		t.Errorf("the tenant %q is the event's own memory", tenant)
	}
}

// TestFoldIsASum draws commits, in any cut and with repeats, and compares the
// fold with a map of plain sums. Retention must not change what is kept.
func TestFoldIsASum(t *testing.T) {
	type key struct{ tenant, window, model string }
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
		whole := NewFold(DefaultFoldLimits(), Keep{})
		kept := NewFold(DefaultFoldLimits(), Keep{})
		want := map[key]Totals{}
		var rows []schemas.Accepted
		var position uint64
		for range rapid.IntRange(1, 20).Draw(t, "commits") {
			for range rapid.IntRange(0, 5).Draw(t, "messages") {
				position++
				a := schemas.Accepted{
					Seq: position, Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"),
					Calls: rapid.SampledFrom([]int8{-1, 0, 1}).Draw(t, "calls"),
					Cost:  schemas.Mul(rapid.Int64().Draw(t, "pico"), 1000), Priced: rapid.Bool().Draw(t, "priced"),
				}
				a.Event.Time = now.Add(-time.Duration(rapid.Int64Range(0, int64(90*24*time.Hour)).Draw(t, "age"))).UnixMilli()
				a.Event.Model = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "model")
				a.Event.Status = rapid.SampledFrom([]string{"", "error"}).Draw(t, "status")
				a.Event.Tokens[schemas.Output] = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax).Draw(t, "tokens")
				rows = append(rows, a)
				one := totalsOf(&a)
				for _, window := range []string{a.Event.Timestamp().Format("2006-01"), a.Event.Timestamp().Format("2006-01-02")} {
					k := key{a.Tenant, window, a.Event.Model}
					sum := want[k]
					sum.Add(&one)
					want[k] = sum
				}
			}
			// All that was ever committed may come again with a commit.
			whole.Apply(rows, position)
			kept.Apply(rows, position)
			if rapid.Bool().Draw(t, "advance") {
				kept.Advance(KeepAt(now))
			}
		}
		kept.Advance(KeepAt(now))
		for k, sum := range want {
			layout, grain := "2006-01-02", schemas.GrainDay
			if len(k.window) == len("2006-01") {
				layout, grain = "2006-01", schemas.GrainMonth
			}
			start, err := time.Parse(layout, k.window)
			if err != nil {
				t.Fatal(err)
			}
			for _, fold := range []*Fold{whole, kept} {
				if !fold.Keeps(schemas.Window{Grain: grain, Start: start}) {
					continue
				}
				var got Totals
				groups, _ := fold.Groups(k.tenant, schemas.Window{Grain: grain, Start: start}, []schemas.Dimension{schemas.ByModel})
				for _, g := range groups {
					if g.Names[0] == k.model {
						got = g.Totals
					}
				}
				if got != sum {
					t.Fatalf("%v: got %s, want %s", k, totalsText(&got), totalsText(&sum))
				}
			}
		}
	})
}

// BenchmarkApply feeds commits of 1,000 rows; ns/op is per row. hot is one
// tenant with one combination, spread 10,000 tenants with 30 each.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name    string
		tenants int
		combos  int
	}{{"hot", 1, 1}, {"spread", 10_000, 30}} {
		b.Run(c.name, func(b *testing.B) {
			rows := make([]schemas.Accepted, c.tenants*c.combos)
			at := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC).UnixMilli()
			for i := range rows {
				// Tenants come in no order, as requests do.
				place := i * 7919 % len(rows)
				rows[i] = schemas.Accepted{Tenant: fmt.Sprintf("tenant-%d", place%c.tenants), Calls: 1, Priced: true, Cost: schemas.Pico(1)}
				e := &rows[i].Event
				e.Time, e.Provider, e.Model = at, "anthropic", fmt.Sprintf("model-%d", place/c.tenants%5)
				e.Agent = fmt.Sprintf("agent-%d", place/c.tenants)
				e.Tokens[schemas.Input] = 100
			}
			fold := NewFold(DefaultFoldLimits(), KeepAt(time.UnixMilli(at)))
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			position := uint64(1)
			for i := range rows {
				rows[i].Seq = position
			}
			fold.Apply(rows, position)
			runtime.GC()
			runtime.ReadMemStats(&after)
			i := 0
			for b.Loop() {
				position++
				rows[i].Seq = position
				fold.Apply(rows[i:i+1], position)
				i = (i + 1) % len(rows)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
		})
	}
}

package alerting

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests get into testdata")

// golden holds what a test gets against a file, or with -rewrite writes the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got; go test -rewrite accepts it:\n%s", file, diff)
	}
}

// TestThresholdTables runs the files in testdata/threshold. A file is commands and, after
// each that asks, the answer, indented by two spaces. Commands:
//
//	thresholds 80 90 100
//	at 2026-02-14T10:00
//	limit monthly_budget max=100 rev=5       name=…, period=… (the month or day of at), unit=USD
//	used monthly_budget 79.5                 name=…, period=…; "unknown" for what is not known
//	gone monthly_budget                      the limit is taken away
//	asof 7 / control 9                       what the next readings count (each judge counts one more)
//	quiet / loud                             the tenant is suspended, or served again
//	judge                                    decide what is due, twice: the second time nothing may be
//	judge behind                             without the alerts that stand, as a node that is behind
//	unreadable 80                            a record of the newest alert at that threshold is of a later version
//	list
func TestThresholdTables(t *testing.T) {
	files, err := filepath.Glob("testdata/threshold/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, runThresholdTable(t, string(text)))
		})
	}
}

// thresholdTable is the log, the book and the numbers of one file.
type thresholdTable struct {
	t          *testing.T
	out        strings.Builder
	thresholds []int
	reading    Reading
	pages      pages
	decided    map[string]bool
	seq        uint64
}

func runThresholdTable(t *testing.T, text string) string {
	table := &thresholdTable{t: t, thresholds: DefaultThresholds(), pages: newPages(), decided: map[string]bool{},
		reading: Reading{Tenant: "ten_a", At: time.Date(2026, 2, 14, 10, 0, 0, 0, time.UTC), Control: 1000}}
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

func (tt *thresholdTable) run(words []string) {
	options := map[string]string{}
	for _, word := range words[1:] {
		if name, value, ok := strings.Cut(word, "="); ok {
			options[name] = value
		}
	}
	switch words[0] {
	case "thresholds":
		tt.thresholds = nil
		for _, word := range words[1:] {
			tt.thresholds = append(tt.thresholds, int(tt.number(word)))
		}
	case "at":
		var err error
		if tt.reading.At, err = time.Parse("2006-01-02T15:04", words[1]); err != nil {
			tt.t.Fatal(err)
		}
	case "asof":
		tt.reading.AsOf = uint64(tt.number(words[1]))
	case "control":
		tt.reading.Control = uint64(tt.number(words[1]))
	case "quiet", "loud":
		tt.reading.Quiet = words[0] == "quiet"
	case "limit":
		l := tt.limit(words[1], options)
		l.Max = tt.amount(l.Max.Unit, options["max"])
		l.Revision = options["rev"] + "-" + options["max"]
	case "used":
		l := tt.limit(words[1], options)
		l.Used = Amount{}
		if words[2] != "unknown" {
			l.Used = tt.amount(l.Max.Unit, words[2])
		}
	case "gone":
		kept := tt.reading.Limits[:0]
		for _, l := range tt.reading.Limits {
			if l.Limit != words[1] || l.Name != options["name"] {
				kept = append(kept, l)
			}
		}
		tt.reading.Limits = kept
	case "judge":
		tt.judge(len(words) > 1)
	case "unreadable":
		tt.unreadable(int(tt.number(words[1])))
	case "list":
		tt.list()
	default:
		tt.t.Fatalf("%s is no command", words[0])
	}
}

func (tt *thresholdTable) number(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		tt.t.Fatal(err)
	}
	return n
}

func (tt *thresholdTable) amount(unit Unit, word string) Amount {
	if unit != UnitUSD {
		return Amount{Unit: unit, Count: tt.number(word)}
	}
	money, err := schemas.ParseMoney(word)
	if err != nil {
		tt.t.Fatal(err)
	}
	return Amount{Unit: unit, Money: money}
}

// limit finds or makes a limit of the reading.
func (tt *thresholdTable) limit(word string, options map[string]string) *Limit {
	period := options["period"]
	if period == "" {
		period = tt.reading.At.Format("2006-01")
		if strings.Contains(word, "daily") {
			period = tt.reading.At.Format(time.DateOnly)
		}
	}
	for i := range tt.reading.Limits {
		if l := &tt.reading.Limits[i]; l.Limit == word && l.Name == options["name"] && l.Period == period {
			return l
		}
	}
	unit := Unit(options["unit"])
	if unit == "" {
		unit = UnitUSD
	}
	tt.reading.Limits = append(tt.reading.Limits, Limit{Limit: word, Name: options["name"], Period: period,
		Used: Amount{Unit: unit}, Max: Amount{Unit: unit}})
	return &tt.reading.Limits[len(tt.reading.Limits)-1]
}

func (tt *thresholdTable) standing() *Standing {
	var periods []string
	for _, l := range tt.reading.Limits {
		periods = append(periods, l.Period)
	}
	return tt.pages.standing(tt.reading.Tenant, periods)
}

func (tt *thresholdTable) judge(behind bool) {
	tt.reading.AsOf++
	standing := tt.standing()
	if behind {
		standing = &Standing{}
	}
	records := Judge(&tt.reading, tt.thresholds, standing)
	for i := range records {
		tt.decide(&records[i])
	}
	if len(records) == 0 {
		fmt.Fprintln(&tt.out, "  nothing")
	}
	if more := Judge(&tt.reading, tt.thresholds, tt.standing()); len(more) > 0 {
		fmt.Fprintf(&tt.out, "  and then again: %d records, the first of them %s %s\n", len(more), more[0].Kind, more[0].Alert)
	}
}

// decide puts a record on the log that the table stands for, once.
func (tt *thresholdTable) decide(r *Record) {
	subject := r.Subject()
	verdict := ""
	if tt.decided[subject] {
		verdict = " (decided before)"
	} else {
		data, err := json.Marshal(r)
		if err != nil {
			tt.t.Fatal(err)
		}
		tt.seq++
		tt.decided[subject] = true
		if err := tt.pages.apply(&eventlog.Record{Subject: subject, Seq: tt.seq, Time: r.At, Data: data}); err != nil {
			tt.t.Fatal(err)
		}
	}
	fmt.Fprintf(&tt.out, "  %s%s %s", r.Kind, causeText(r.Cause), identityText(&r.Identity))
	if r.Episode > 0 {
		fmt.Fprintf(&tt.out, " episode %d", r.Episode)
	}
	if f := r.Facts; !f.Used.IsZero() {
		fmt.Fprintf(&tt.out, ": %s of %s, %d%%", amountText(f.Used), amountText(f.Max), f.Percent)
		if !f.Forecast.IsZero() {
			fmt.Fprintf(&tt.out, ", forecast %s", amountText(f.Forecast))
		}
		if !f.ExhaustedAt.IsZero() {
			fmt.Fprintf(&tt.out, ", exhausted %s", f.ExhaustedAt.Format(time.RFC3339))
		}
	}
	fmt.Fprintln(&tt.out, verdict)
}

func (tt *thresholdTable) unreadable(threshold int) {
	for i := len(tt.pages.order) - 1; i >= 0; i-- {
		if of := tt.pages.order[i]; of.identity.Threshold == threshold {
			tt.seq++
			subject := "decision.ten_a.alert." + of.id + ".0.resolved"
			err := tt.pages.apply(&eventlog.Record{Subject: subject, Seq: tt.seq, Data: []byte(`{"v":2}`)})
			fmt.Fprintf(&tt.out, "  %s, %d passed over\n", strings.Replace(err.Error(), of.id, "it", 1), tt.pages.passedOver)
			return
		}
	}
	tt.t.Fatalf("no alert at %d", threshold)
}

func (tt *thresholdTable) list() {
	if len(tt.pages.of("ten_a")) == 0 {
		fmt.Fprintln(&tt.out, "  none")
	}
	for _, of := range tt.pages.of("ten_a") {
		a := of.view(true)
		fmt.Fprintf(&tt.out, "  %s %s %s, %d records\n", a.State, a.Severity, identityText(&a.Identity), len(a.History))
	}
}

func causeText(c Cause) string {
	if c == "" {
		return ""
	}
	return " (" + string(c) + ")"
}

func identityText(i *Identity) string {
	name := ""
	if i.Name != "" {
		name = " " + i.Name
	}
	return fmt.Sprintf("%s%s %s rev %s at %d%%", i.Limit, name, i.Period, i.Revision, i.Threshold)
}

func amountText(a Amount) string {
	if a.Unit == UnitUSD {
		return a.Money.String()
	}
	return fmt.Sprintf("%d %s", a.Count, a.Unit)
}

func TestCheckThresholds(t *testing.T) {
	for text, want := range map[string]string{
		"80 90 100": "", "1": "", "1000": "", "1 2 3 4 5 6 7 8 9 10": "",
		"":  "give 1 to 10",
		"0": "/thresholds/0", "80 1001": "/thresholds/1", "80 80": "there twice", "90 80": "80 % comes after 90 %", "-5 80": "/thresholds/0",
		"1 2 3 4 5 6 7 8 9 10 11": "11 thresholds",
	} {
		var list []int
		for word := range strings.FieldsSeq(text) {
			n, _ := strconv.Atoi(word)
			list = append(list, n)
		}
		err := CheckThresholds(list)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !errors.Is(err, schemas.ErrInvalid)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A share is compared in whole numbers of any size: held against plain big integers.
func TestCrossedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := func(name string) Amount {
			if rapid.Bool().Draw(t, name+" is money") {
				return Amount{Unit: UnitUSD, Money: schemas.MoneyFromWords(rapid.Int64Range(-3, 1<<40).Draw(t, name+" high"), rapid.Uint64().Draw(t, name+" low"))}
			}
			return Amount{Unit: UnitUSD, Money: schemas.Pico(rapid.Int64Range(-5, 1000).Draw(t, name))}
		}
		threshold := rapid.IntRange(1, ThresholdMax).Draw(t, "threshold")
		l := Limit{Used: word("used"), Max: word("max")}
		if rapid.Bool().Draw(t, "exactly") && l.Max.Money.Sign() > 0 {
			// Right at the threshold, or one part of 1e-12 USD beside it.
			exact := new(big.Int).Mul(l.Max.Money.Big(), big.NewInt(int64(threshold)))
			exact.Quo(exact, big.NewInt(100)).Add(exact, big.NewInt(int64(rapid.IntRange(-1, 1).Draw(t, "off"))))
			if money, fits := schemas.MoneyFromBig(exact); fits {
				l.Used.Money = money
			}
		}
		used, limit := l.Used.Money.Big(), l.Max.Money.Big()
		want := limit.Sign() >= 0 && used.Sign() >= 0 &&
			new(big.Int).Mul(used, big.NewInt(100)).Cmp(new(big.Int).Mul(limit, big.NewInt(int64(threshold)))) >= 0
		if limit.Sign() == 0 && used.Sign() == 0 {
			want = threshold <= 100
		}
		if got := crossed(&l, threshold); got != want {
			t.Fatalf("%s of %s at %d%%: %t, want %t", amountText(l.Used), amountText(l.Max), threshold, got, want)
		}
		if percent := percentOf(l.Used, l.Max); limit.Sign() > 0 && (percent >= threshold) != want {
			t.Fatalf("%s of %s is %d%%, and %d%% is crossed: %t", amountText(l.Used), amountText(l.Max), percent, threshold, want)
		}
	})
}

func TestForecast(t *testing.T) {
	usd := func(n int64) Amount { return Amount{Unit: UnitUSD, Money: schemas.Mul(schemas.PicoPerUSD, n)} }
	tokens := func(n int64) Amount { return Amount{Unit: UnitTokens, Count: n} }
	at := func(text string) time.Time {
		got, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, row := range []struct {
		name, period, at string
		used, limit      Amount
		forecast         string
		exhausted        string
	}{
		{"a quarter of February", "2026-02", "2026-02-08T00:00:00Z", usd(50), usd(100), "200.000000", "2026-02-15T00:00:00Z"},
		{"half of a day", "2026-02-14", "2026-02-14T12:00:00Z", tokens(3), tokens(4), "6 tokens", "2026-02-14T16:00:00Z"},
		{"rounded down", "2026-02-14", "2026-02-14T09:00:00Z", tokens(10), tokens(100), "26 tokens", ""},
		{"right at the end", "2026-02", "2026-02-15T00:00:00Z", usd(50), usd(100), "100.000000", ""},
		{"the limit is reached", "2026-02", "2026-02-15T00:00:00Z", usd(130), usd(100), "260.000000", ""},
		{"nothing used", "2026-02", "2026-02-15T00:00:00Z", usd(0), usd(100), "0.000000", ""},
		{"less than nothing", "2026-02", "2026-02-15T00:00:00Z", usd(-1), usd(100), "", ""},
		{"a percent of a day is 14:24", "2026-02-14", "2026-02-14T00:14:23Z", usd(1), usd(100), "", ""},
		{"and then it is known", "2026-02-14", "2026-02-14T00:14:24Z", usd(2), usd(100), "200.000000", "2026-02-14T12:00:00Z"},
		{"over", "2026-02", "2026-03-01T00:00:00Z", usd(1), usd(100), "", ""},
		{"not begun", "2026-02", "2026-01-31T23:59:59Z", usd(1), usd(100), "", ""},
		{"no period", "", "2026-02-14T12:00:00Z", usd(1), usd(100), "", ""},
		{"no limit", "2026-02", "2026-02-15T00:00:00Z", tokens(1), tokens(-1), "2 tokens", ""},
		{"beyond 64 bits", "2026-02", "2026-02-02T00:00:00Z", tokens(1 << 62), tokens(1), "", ""},
	} {
		forecast, exhausted := Forecast(row.period, at(row.at), row.used, row.limit)
		got, when := "", ""
		if !forecast.IsZero() {
			got = amountText(forecast)
		}
		if !exhausted.IsZero() {
			when = exhausted.Format(time.RFC3339)
		}
		if got != row.forecast || when != row.exhausted {
			t.Errorf("%s: %q until %q, want %q until %q", row.name, got, when, row.forecast, row.exhausted)
		}
	}
}

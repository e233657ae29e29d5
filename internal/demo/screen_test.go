package demo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rivo/uniseg"

	"github.com/agentik-os/panda/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what is drawn as the new golden files")

func money(t *testing.T, text string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// shares makes rows of pairs of name and cost.
func shares(t *testing.T, pairs ...string) (out []Share) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Share{Name: pairs[i], Cost: money(t, pairs[i+1])})
	}
	return out
}

// guideScreen has the numbers of the product's guide.
func guideScreen(t *testing.T) ScreenData {
	return ScreenData{
		Tenant: "Acme Corporation", Month: month(t, "2026-02"), Current: true,
		Total: money(t, "847.32"), Budget: money(t, "1000"), HasBudget: true,
		Models: shares(t, "Claude Opus 4.6", "524.18", "Claude Sonnet 4.5", "213.44", "Claude Haiku 4.5", "89.12", "GPT-4o", "20.58"),
		Agents: shares(t, "Customer Support", "312.45", "Code Reviewer", "189.23", "Data Analyst", "156.78",
			"Email Assistant", "98.65", "Research Bot", "45.32", "Invoice Triage", "3.10"),
	}
}

func TestScreen(t *testing.T) {
	over := guideScreen(t)
	over.Total, over.Budget, over.Current = money(t, "1123.499999999999"), money(t, "999.99"), false
	almost := guideScreen(t)
	almost.Total = money(t, "999.999999999999")
	tiny := ScreenData{Tenant: "Gamma Solutions", Month: month(t, "2026-10"), Total: money(t, "0.000004"), Budget: money(t, "10"), HasBudget: true,
		Models: shares(t, "GPT-4o", "0.000003", "Claude Haiku 4.5", "0.000001"), Agents: shares(t, "Bot", "0.000004")}
	long := ScreenData{
		Tenant: "Wir-haben-einen-sehr-langen-Namen Gesellschaft mit beschränkter Haftung & Co. KG",
		Month:  month(t, "2026-10"), Total: money(t, "12345678.905"),
		Models: shares(t, "a-model-name-that-nobody-can-say-aloud-in-one-breath", "12345670", "x", "8.905"),
		Agents: shares(t, "客户支持助手", "9000000", "Café ☕ Bot", "3345678.905", "", "-0.12"),
	}
	unpriced := guideScreen(t)
	unpriced.Models = append(unpriced.Models, Share{Name: "orchid-7b", Unpriced: 1234}, Share{Name: "unused"})
	negative := ScreenData{Tenant: "Delta Inc", Month: month(t, "2026-10"), Total: money(t, "-1.50"), Budget: money(t, "0"), HasBudget: true,
		Models: shares(t, "GPT-4o", "0.50", "Claude Opus 4.6", "-2")}
	empty := ScreenData{Tenant: "Nobody", Month: month(t, "2026-10"), Budget: money(t, "250.50"), HasBudget: true}
	for name, d := range map[string]ScreenData{
		"guide": guideScreen(t), "over": over, "almost": almost, "tiny": tiny, "long": long, "unpriced": unpriced, "negative": negative, "empty": empty,
	} {
		t.Run(name, func(t *testing.T) {
			got := Screen(d)
			path := filepath.Join("testdata", "screen_"+name+".txt")
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			for _, l := range lines {
				if uniseg.StringWidth(l) != uniseg.StringWidth(lines[0]) {
					t.Errorf("%q is %d columns wide, the box %d", l, uniseg.StringWidth(l), uniseg.StringWidth(lines[0]))
				}
			}
		})
	}
}

func TestWholePercentsAddUp(t *testing.T) {
	for _, amounts := range [][]string{
		{"1", "1", "1"}, {"1", "1", "1", "1", "1", "1", "1"}, {"0.000000000001", "99999999"}, {"5"}, {"0", "0.000000000001"},
	} {
		var costs []schemas.Money
		for _, a := range amounts {
			costs = append(costs, money(t, a))
		}
		sum := 0
		for _, p := range wholePercents(costs) {
			n := 0
			for _, c := range strings.TrimSuffix(p, "%") {
				n = n*10 + int(c-'0')
			}
			sum += n
		}
		if sum != 100 {
			t.Errorf("%v: the shares add up to %d", amounts, sum)
		}
	}
	if got := wholePercents([]schemas.Money{schemas.Pico(2), schemas.Pico(-1)}); got[0] != "–" {
		t.Errorf("parts of no whole: %v", got)
	}
}

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		sent, total int64
		took        time.Duration
		want        string
	}{
		{0, 1_000_000, 0, "░░░░░░░░░░░░░░░░░░░░░░░░   0%  0 of 1,000,000 events"},
		{412_000, 1_000_000, 4 * time.Second, "█████████░░░░░░░░░░░░░░░  41%  412,000 of 1,000,000 events  103,000/s  6 s left"},
		{1000, 1000, time.Second, "████████████████████████ 100%  1,000 of 1,000 events  1,000/s"},
	} {
		if diff := cmp.Diff(c.want, progressLine(c.sent, c.total, c.took)); diff != "" {
			t.Error(diff)
		}
	}
}

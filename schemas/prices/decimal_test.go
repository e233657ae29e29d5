package prices

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestScale(t *testing.T) {
	for _, c := range []struct {
		text    string
		shift   int
		divisor int64
		want    int64
		rounded bool
	}{
		{"3", 6, 1, 3_000_000, false}, {"0.18000000000000002", 6, 1, 180_000, true}, {"0.08333333333333334", 6, 1, 83_333, true},
		{"2.5e-06", 12, 1, 2_500_000, false}, {"1E1", 0, 1, 10, false}, {"2.5", 0, 1, 2, true}, {"3.5", 0, 1, 4, true},
		{"2.51", 0, 1, 3, true}, {"-2.5", 0, 1, -2, true}, {"0", 12, 3600, 0, false}, {"0.36", 12, 3600, 100_000_000, false},
		{"0.0000000000005", 12, 1, 0, true}, {"0.0000000000015", 12, 1, 2, true},
	} {
		got, rounded, err := scale(c.text, c.shift, c.divisor)
		if err != nil || got != c.want || rounded != c.rounded {
			t.Errorf("%s: %d %v %v, want %d %v", c.text, got, rounded, err, c.want, c.rounded)
		}
	}
	for _, text := range []string{"", "x", "1e", "1e99", "1e-99", "--1", "1.2.3", "0x1", "1_0", "9e18", strings.Repeat("1", 65), "NaN"} {
		if n, _, err := scale(text, 12, 1); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}

func TestScaleIsWithinHalf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,30})?(e-?[0-9])?`).Draw(t, "text")
		divisor := rapid.Int64Range(1, 5000).Draw(t, "divisor")
		got, rounded, err := scale(text, 3, divisor)
		if err != nil {
			t.Fatal(err)
		}
		exact, _ := new(big.Rat).SetString(text)
		exact.Mul(exact, big.NewRat(1000, divisor))
		diff := exact.Sub(exact, new(big.Rat).SetInt64(got))
		if rounded != (diff.Sign() != 0) {
			t.Fatalf("rounded %v, off by %s", rounded, diff)
		}
		switch diff.Abs(diff).Cmp(big.NewRat(1, 2)) {
		case 1:
			t.Fatalf("%d is off by %s", got, diff)
		case 0:
			if got%2 != 0 {
				t.Fatalf("the tie went to the odd %d", got)
			}
		}
	})
}

func TestRegexRules(t *testing.T) {
	for pattern, want := range map[string]string{
		`^gpt-5\.6-sol-\d{4}-\d{2}-\d{2}$`: "gpt-5.6-sol", `^claude-opus-5-\d{8}$`: "claude-opus-5",
	} {
		if got := regexRules(pattern); len(got) != 1 || got[0].Dated != want {
			t.Errorf("%s: %+v", pattern, got)
		}
	}
	if got := regexRules(`^composer-2\.5\[fast=true\]$`); len(got) != 1 || got[0].Exact != "composer-2.5[fast=true]" {
		t.Errorf("a literal: %+v", got)
	}
	if got := regexRules(`^gemini-3\.5-flash-\d`); len(got) != 10 || got[9].Prefix != "gemini-3.5-flash-9" {
		t.Errorf("a digit: %+v", got)
	}
	for _, pattern := range []string{``, `^`, `^a.b$`, `^o[134]`, `a`, `^a|b$`, `^(a)$`, `^a+-\d{8}$`} {
		if got := regexRules(pattern); got != nil {
			t.Errorf("%q became %+v", pattern, got)
		}
	}
}

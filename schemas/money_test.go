package schemas_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

// anyMoney draws amounts from all of 128 bits, small ones and edges often.
func anyMoney() *rapid.Generator[schemas.Money] {
	edges := []schemas.Money{
		{}, schemas.Pico(1), schemas.Pico(-1), schemas.Pico(math.MaxInt64), schemas.Pico(math.MinInt64),
		schemas.MoneyFromWords(math.MaxInt64, math.MaxUint64), schemas.MoneyFromWords(math.MinInt64, 0),
		schemas.MoneyFromWords(math.MinInt64, 1), schemas.MoneyFromWords(0, 1<<63), schemas.MoneyFromWords(-1, 1<<63-1),
	}
	return rapid.OneOf(
		rapid.SampledFrom(edges),
		rapid.Map(rapid.Int64(), schemas.Pico),
		rapid.Custom(func(t *rapid.T) schemas.Money {
			return schemas.MoneyFromWords(rapid.Int64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo"))
		}),
	)
}

// exactly runs an operation of Money and holds it against math/big: the same
// number where 128 bits hold it, a panic where they do not.
func exactly(t *rapid.T, name string, want *big.Int, op func() schemas.Money) {
	t.Helper()
	fits := want.Cmp(new(big.Int).Lsh(big.NewInt(1), 127)) < 0 && want.Cmp(new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 127))) >= 0
	defer func() {
		if r := recover(); (r != nil) == fits {
			t.Fatalf("%s: %s fits: %v, yet the panic is %v", name, want, fits, r)
		}
	}()
	if got := op(); fits && got.Big().Cmp(want) != 0 {
		t.Fatalf("%s: got %s, want %s", name, got.Big(), want)
	}
}

func TestMoneyIsBigInt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyMoney().Draw(t, "a"), anyMoney().Draw(t, "b")
		x, y := a.Big(), b.Big()
		exactly(t, "add", new(big.Int).Add(x, y), func() schemas.Money { return a.Add(b) })
		exactly(t, "neg", new(big.Int).Neg(x), a.Neg)
		if b != schemas.MoneyFromWords(math.MinInt64, 0) { // its opposite does not exist, so Sub panics as Neg does
			exactly(t, "sub", new(big.Int).Sub(x, y), func() schemas.Money { return a.Sub(b) })
		}
		if a.Cmp(b) != x.Cmp(y) || a.Sign() != x.Sign() || a.IsZero() != (x.Sign() == 0) || (a == b) != (x.Cmp(y) == 0) {
			t.Fatalf("compare %s and %s: %d, sign %d", x, y, a.Cmp(b), a.Sign())
		}
		n, fits := a.Int64()
		if fits != x.IsInt64() || fits && n != x.Int64() {
			t.Fatalf("int64 of %s: %d %v", x, n, fits)
		}
		if back, ok := schemas.MoneyFromBig(x); !ok || back != a {
			t.Fatalf("%s comes back as %s, %v", x, back.Big(), ok)
		}
		if back := schemas.MoneyFromWords(a.Words()); back != a {
			t.Fatalf("words of %s", x)
		}
	})
}

func TestMulIsExact(t *testing.T) {
	edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := edge.Draw(t, "a"), edge.Draw(t, "b")
		if got, want := schemas.Mul(a, b).Big(), new(big.Int).Mul(big.NewInt(a), big.NewInt(b)); got.Cmp(want) != 0 {
			t.Fatalf("%d × %d: got %s, want %s", a, b, got, want)
		}
	})
}

func TestMoneyFromBigRefuses(t *testing.T) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	under := new(big.Int).Sub(new(big.Int).Neg(limit), big.NewInt(1))
	for _, n := range []*big.Int{limit, under} {
		if m, ok := schemas.MoneyFromBig(n); ok {
			t.Errorf("%s became %s", n, m)
		}
	}
}

func TestMoneyTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMoney().Draw(t, "m")
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back schemas.Money
		if err := json.Unmarshal(text, &back); err != nil || back != m {
			t.Fatalf("%s came back as %s: %v", text, back, err)
		}
		exact, ok := new(big.Rat).SetString(m.String())
		if !ok || exact.Cmp(new(big.Rat).SetFrac(m.Big(), big.NewInt(schemas.PicoPerUSD))) != 0 {
			t.Fatalf("%s is not %s pico-USD", m, m.Big())
		}
	})
}

func TestMoneyString(t *testing.T) {
	for pico, want := range map[int64]string{
		0: "0.000000", 1: "0.000000000001", -1: "-0.000000000001", 30_432_000_000: "0.030432", 916_176_000_000_000: "916.176000",
		1_500_000_000_000: "1.500000", -1_234_567_890_123: "-1.234567890123", 100: "0.0000000001", math.MinInt64: "-9223372.036854775808",
	} {
		if got := schemas.Pico(pico).String(); got != want {
			t.Errorf("%d: got %s, want %s", pico, got, want)
		}
	}
}

func TestParseMoney(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "12.5": 12_500_000_000_000, "-0.000001": -1_000_000, "00.10": 100_000_000_000,
		"0.000000000001": 1, "0.0000000000010000": 1, "1.": -1, ".5": -1, "": -1, "-": -1, "+1": -1, "1e3": -1, "1,000": -1,
		" 1": -1, "1.2.3": -1, "--1": -1, "0x1": -1, "٣": -1, "NaN": -1, "0.0000000000001": -1, strings.Repeat("9", 65): -1,
		"170141183460469231731687303.715884105728": -1, // 2^127
	} {
		got, err := schemas.ParseMoney(text)
		if want == -1 {
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Errorf("%q: got %s, %v; want ErrInvalid", text, got, err)
			}
			continue
		}
		if err != nil || got != schemas.Pico(want) {
			t.Errorf("%q: got %s, %v; want %d pico", text, got, err, want)
		}
	}
}

func TestMoneyCents(t *testing.T) {
	const half = schemas.PicoPerCent / 2
	for pico, want := range map[int64]string{
		0: "$0.00", half: "$0.00", half + 1: "$0.01", 3 * half: "$0.02", 5 * half: "$0.02", -half: "$0.00", -half - 1: "-$0.01",
		-3 * half: "-$0.02", 123_456 * schemas.PicoPerCent: "$1,234.56", -123_456_789 * schemas.PicoPerCent: "-$1,234,567.89",
	} {
		if got := schemas.Pico(pico).Display(); got != want {
			t.Errorf("%d: got %s, want %s", pico, got, want)
		}
	}
}

func TestMoneyCentsIsNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMoney().Draw(t, "m")
		exact := new(big.Rat).SetFrac(m.Big(), big.NewInt(schemas.PicoPerCent))
		if got, want := m.Cents(), roundHalfEven(exact); got.Cmp(want) != 0 {
			t.Fatalf("%s: got %s cents, want %s", m, got, want)
		}
	})
}

func TestGroupDigits(t *testing.T) {
	for in, want := range map[string]string{"": "", "1": "1", "123": "123", "1234": "1,234", "-123": "-123", "-1234567": "-1,234,567"} {
		if got := schemas.GroupDigits(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzParseMoney: whatever is read is exactly the number in the text, and is
// written and read again as itself.
func FuzzParseMoney(f *testing.F) {
	for _, text := range []string{"0", "12.5", "-0.000001", "1e3", "170141183460469231731687303.715884105727", "0.1234567890123", "-", "."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := schemas.ParseMoney(text)
		if err != nil {
			if !errors.Is(err, schemas.ErrInvalid) || !m.IsZero() {
				t.Fatalf("%q: %s, %v", text, m, err)
			}
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok || exact.Cmp(new(big.Rat).SetFrac(m.Big(), big.NewInt(schemas.PicoPerUSD))) != 0 {
			t.Fatalf("%q is read as %s", text, m)
		}
		if again, err := schemas.ParseMoney(m.String()); err != nil || again != m {
			t.Fatalf("%q: %s is read again as %s, %v", text, m, again, err)
		}
	})
}

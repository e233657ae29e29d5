package schemas

import (
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// MoneyScale is the number of decimal digits of a Money: one unit is 1e-12 USD.
// Every clean list price per token fits it exactly ($0.25 per million tokens is
// 250,000 pico-USD a token).
const MoneyScale = 12

// Pico units of one dollar and one cent.
const (
	PicoPerUSD  = 1_000_000_000_000
	PicoPerCent = PicoPerUSD / 100
)

// Money is an amount of US dollars as a whole number of pico-USD (1e-12 USD) in
// 128 bits, two's complement: about ±1.7e26 USD, far beyond any sum of usage.
// The zero value is no money. Money is comparable with ==.
//
// In ClickHouse it is Decimal(38, 12), in JSON a decimal string.
type Money struct {
	hi int64
	lo uint64
}

// Pico returns n pico-USD.
func Pico(n int64) Money { return Money{hi: n >> 63, lo: uint64(n)} }

// MoneyFromWords returns the Money of a 128-bit two's complement integer. It is
// the inverse of Words.
func MoneyFromWords(hi int64, lo uint64) Money { return Money{hi: hi, lo: lo} }

// Words returns the amount as a 128-bit two's complement integer of pico-USD.
func (m Money) Words() (hi int64, lo uint64) { return m.hi, m.lo }

// Add returns m + n. It panics on overflow: limits on events keep every sum
// below 128 bits, so an overflow is a broken invariant, not an input.
func (m Money) Add(n Money) Money {
	lo, carry := bits.Add64(m.lo, n.lo, 0)
	hi, _ := bits.Add64(uint64(m.hi), uint64(n.hi), carry)
	r := Money{hi: int64(hi), lo: lo}
	if (m.hi >= 0) == (n.hi >= 0) && (r.hi >= 0) != (m.hi >= 0) {
		panic("money: a sum left 128 bits; a limit on event cost is not kept")
	}
	return r
}

// Sub returns m - n.
func (m Money) Sub(n Money) Money { return m.Add(n.Neg()) }

// Neg returns -m. It panics for the one amount without an opposite, -2^127,
// for the reason that Add gives.
func (m Money) Neg() Money {
	if m.hi == math.MinInt64 && m.lo == 0 {
		panic("money: the opposite of the least amount left 128 bits; a limit on event cost is not kept")
	}
	lo, borrow := bits.Sub64(0, m.lo, 0)
	hi, _ := bits.Sub64(0, uint64(m.hi), borrow)
	return Money{hi: int64(hi), lo: lo}
}

// Sign returns -1, 0 or +1.
func (m Money) Sign() int {
	switch {
	case m.hi < 0:
		return -1
	case m.hi == 0 && m.lo == 0:
		return 0
	}
	return 1
}

// Cmp compares m and n: -1 if m < n, 0 if equal, +1 if m > n.
func (m Money) Cmp(n Money) int {
	switch {
	case m.hi < n.hi:
		return -1
	case m.hi > n.hi:
		return 1
	case m.lo < n.lo:
		return -1
	case m.lo > n.lo:
		return 1
	}
	return 0
}

// IsZero reports whether m is no money.
func (m Money) IsZero() bool { return m == Money{} }

// Int64 returns the amount in pico-USD and whether it fits.
func (m Money) Int64() (int64, bool) {
	n := int64(m.lo)
	return n, m.hi == n>>63
}

// Big returns the amount in pico-USD.
func (m Money) Big() *big.Int {
	b := big.NewInt(m.hi)
	b.Lsh(b, 64)
	return b.Add(b, new(big.Int).SetUint64(m.lo))
}

// MoneyFromBig returns the Money of n pico-USD and whether it fits 128 bits.
func MoneyFromBig(n *big.Int) (Money, bool) {
	var low big.Int
	low.And(n, new(big.Int).SetUint64(^uint64(0)))
	high := new(big.Int).Rsh(n, 64)
	if !high.IsInt64() {
		return Money{}, false
	}
	return Money{hi: high.Int64(), lo: low.Uint64()}, true
}

// Mul returns unit price × quantity, both signed 64 bit, exactly.
func Mul(unitPico, quantity int64) Money {
	neg := (unitPico < 0) != (quantity < 0)
	hi, lo := bits.Mul64(magnitude(unitPico), magnitude(quantity))
	m := Money{hi: int64(hi), lo: lo}
	if neg {
		return m.Neg()
	}
	return m
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// String returns the exact amount in dollars with at least six and at most
// twelve decimals, for instance "0.030432" or "916.176000". It is the form of
// money in JSON and CSV.
func (m Money) String() string {
	const decimalsMin = 6
	whole, frac, neg := m.split()
	frac = strings.TrimRight(frac, "0")
	for len(frac) < decimalsMin {
		frac += "0"
	}
	s := whole + "." + frac
	if neg {
		s = "-" + s
	}
	return s
}

// split returns the decimal digits before and after the point of |m|.
func (m Money) split() (whole, frac string, neg bool) {
	neg = m.hi < 0
	digits := m.Big().Text(10)
	digits = strings.TrimPrefix(digits, "-")
	for len(digits) <= MoneyScale {
		digits = "0" + digits
	}
	cut := len(digits) - MoneyScale
	return digits[:cut], digits[cut:], neg
}

// Cents returns the amount rounded half-even to whole cents. It is for people
// and for invoices in USD, never an input to further arithmetic on usage.
func (m Money) Cents() *big.Int {
	neg := m.hi < 0
	n := m.Big()
	n.Abs(n)
	unit := big.NewInt(PicoPerCent)
	cents, rest := new(big.Int).QuoRem(n, unit, new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(unit) {
	case 1:
		cents.Add(cents, big.NewInt(1))
	case 0:
		if cents.Bit(0) == 1 {
			cents.Add(cents, big.NewInt(1))
		}
	}
	if neg {
		cents.Neg(cents)
	}
	return cents
}

// Display returns the amount for people: "$1,234.56", "-$0.03". Rounded
// half-even to cents.
func (m Money) Display() string {
	cents := m.Cents()
	sign := ""
	if cents.Sign() < 0 {
		sign = "-"
		cents.Abs(cents)
	}
	digits := cents.Text(10)
	for len(digits) < 3 {
		digits = "0" + digits
	}
	cut := len(digits) - 2
	return sign + "$" + GroupDigits(digits[:cut]) + "." + digits[cut:]
}

// GroupDigits puts a comma between groups of three digits: "1234567" becomes
// "1,234,567". A leading minus sign is kept.
func GroupDigits(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// moneyDigitsMax bounds the text ParseMoney reads: 128 bits are 39 digits.
const moneyDigitsMax = 64

// ParseMoney reads a decimal amount of dollars such as "12.5" or "-0.000001",
// without exponent. More than twelve decimals are refused unless the surplus is
// zeros: rounding is a decision that a parser must not make.
func ParseMoney(text string) (Money, error) {
	rest, neg := strings.CutPrefix(text, "-")
	whole, frac, dotted := strings.Cut(rest, ".")
	if len(text) > moneyDigitsMax || whole == "" || (dotted && frac == "") || !digitsOnly(whole) || !digitsOnly(frac) {
		return Money{}, Invalid("", CodeMalformed, "%q is not a decimal amount such as \"12.50\"", clip(text))
	}
	if len(frac) > MoneyScale {
		if strings.Trim(frac[MoneyScale:], "0") != "" {
			return Money{}, Invalid("", CodeOutOfRange, "%q has more than %d decimals; round it first", clip(text), MoneyScale)
		}
		frac = frac[:MoneyScale]
	}
	frac += strings.Repeat("0", MoneyScale-len(frac))
	n, ok := new(big.Int).SetString(whole+frac, 10)
	if !ok {
		return Money{}, Invalid("", CodeMalformed, "%q is not a decimal amount such as \"12.50\"", clip(text))
	}
	if neg {
		n.Neg(n)
	}
	m, ok := MoneyFromBig(n)
	if !ok {
		return Money{}, Invalid("", CodeOutOfRange, "%q is more money than 128 bits of pico-USD hold", clip(text))
	}
	return m, nil
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// clip shortens an input that is quoted in an error.
func clip(s string) string {
	const clipMax = 64
	if len(s) <= clipMax {
		return s
	}
	return s[:clipMax] + "…"
}

// MarshalText returns the decimal string; see String.
func (m Money) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote; see ParseMoney.
func (m *Money) UnmarshalText(text []byte) error {
	parsed, err := ParseMoney(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

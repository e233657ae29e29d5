package prices

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Limits of a decimal in a price file. A price needs neither; they keep a
// hostile file from asking for a number of a million digits.
const (
	decimalDigitsMax   = 64
	decimalExponentMax = 64
)

// scale returns text × 10^shift / divisor as a whole number, rounded half-even,
// and whether it had to round. Text is a JSON number, exponent and all.
func scale(text string, shift int, divisor int64) (n int64, rounded bool, err error) {
	mantissa, exponent, err := splitDecimal(text)
	if err != nil {
		return 0, false, err
	}
	exponent += shift
	num, den := mantissa, big.NewInt(divisor)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent >= 0 {
		num.Mul(num, power)
	} else {
		den.Mul(den, power)
	}
	quotient, rest := new(big.Int).DivMod(num, den, new(big.Int)) // den > 0, so 0 <= rest < den
	rounded = rest.Sign() != 0
	switch rest.Lsh(rest, 1).Cmp(den) {
	case 1:
		quotient.Add(quotient, big.NewInt(1))
	case 0:
		if quotient.Bit(0) == 1 {
			quotient.Add(quotient, big.NewInt(1))
		}
	}
	if !quotient.IsInt64() {
		return 0, false, fmt.Errorf("%s is too large for a price", text)
	}
	return quotient.Int64(), rounded, nil
}

// splitDecimal reads a JSON number as mantissa × 10^exponent.
func splitDecimal(text string) (mantissa *big.Int, exponent int, err error) {
	digits, exp, scientific := strings.Cut(strings.ToLower(text), "e")
	if scientific {
		exponent, err = strconv.Atoi(exp)
		if err != nil || exponent > decimalExponentMax || exponent < -decimalExponentMax {
			return nil, 0, fmt.Errorf("%.80q is not a decimal in range", text)
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if len(whole)+len(fraction) > decimalDigitsMax {
		return nil, 0, fmt.Errorf("%.80q has more than %d digits", text, decimalDigitsMax)
	}
	mantissa, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return nil, 0, fmt.Errorf("%.80q is not a decimal", text)
	}
	return mantissa, exponent - len(fraction), nil
}

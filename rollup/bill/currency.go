package bill

import (
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A Rate says what one US dollar is in the currency of a statement. It is an input:
// which rate holds is agreed with the customer, and stays on the statement.
type Rate struct {
	PerUSD string `json:"per_usd"` // a decimal, for instance "0.9213"
	Date   string `json:"date"`    // "2026-02-28": the day that it is of
}

// A currency says how amounts are written: Exponent digits after the point, and only
// multiples of Quantum minor units. The lists are those of stripe.com/docs/currencies.
type currency struct {
	exponent int
	quantum  int64
}

func currencyOf(code string) (currency, error) {
	two := strings.Fields("USD AED AUD BGN BRL CAD CHF CNY CZK DKK EGP EUR GBP HKD HUF IDR ILS INR KES MAD MXN MYR NGN NOK NZD " +
		"PHP PLN RON SAR SEK SGD THB TRY TWD UAH ZAR")
	zero := strings.Fields("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF")
	// The last digit of these must be 0.
	three := strings.Fields("BHD JOD KWD OMR TND")
	switch {
	case slices.Contains(two, code):
		return currency{2, 1}, nil
	case slices.Contains(zero, code):
		return currency{0, 1}, nil
	case slices.Contains(three, code):
		return currency{3, 10}, nil
	case code == "ISK":
		return currency{2, 100}, nil // two digits by custom, whole krónur only
	case code == "UGX":
		return currency{}, schemas.Invalid("/currency", schemas.CodeNotAllowed,
			"sources disagree whether UGX has minor units, and an amount would be wrong a hundredfold; bill in another currency")
	}
	return currency{}, schemas.Invalid("/currency", schemas.CodeUnknown, "%q is no currency that can be billed in; write its ISO 4217 code in capitals", code)
}

var ratePattern = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,12})?$`)

// minorPerPico returns how many minor units of the currency a pico-USD is.
func minorPerPico(code string, c currency, rate *Rate) (*big.Rat, error) {
	per := big.NewRat(1, 1)
	switch {
	case code == "USD" && rate != nil:
		return nil, schemas.Invalid("/rate", schemas.CodeNotAllowed, "an amount in USD needs no rate")
	case code == "USD":
	case rate == nil:
		return nil, schemas.Invalid("/rate", schemas.CodeMissing, "an amount in %s needs the rate of a dollar and its date", code)
	default:
		if !ratePattern.MatchString(rate.PerUSD) {
			return nil, schemas.Invalid("/rate/per_usd", schemas.CodeMalformed, "%q is not a decimal rate such as \"0.9213\"", rate.PerUSD)
		}
		if w, err := schemas.ParseWindow(rate.Date); err != nil || w.Grain != schemas.GrainDay {
			return nil, schemas.Invalid("/rate/date", schemas.CodeMalformed, "%q is not a day; write it as 2026-02-28", rate.Date)
		}
		if per.SetString(rate.PerUSD); per.Sign() == 0 {
			return nil, schemas.Invalid("/rate/per_usd", schemas.CodeOutOfRange, "a dollar is worth something")
		}
	}
	units := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.exponent)), nil)
	return per.Mul(per, new(big.Rat).SetFrac(units, big.NewInt(schemas.PicoPerUSD))), nil
}

// roundHalfAway rounds to a multiple of the quantum, halves away from zero.
func roundHalfAway(x *big.Rat, quantum int64) *big.Int {
	num := new(big.Int).Lsh(new(big.Int).Abs(x.Num()), 1)
	den := new(big.Int).Mul(x.Denom(), big.NewInt(quantum))
	num.Add(num, den)
	n := num.Quo(num, den.Lsh(den, 1))
	n.Mul(n, big.NewInt(quantum))
	if x.Sign() < 0 {
		n.Neg(n)
	}
	return n
}

// spread gives each share its whole multiple of the quantum so that they sum to total:
// each is cut down to the next one below, and what is missing goes to the largest cut
// parts, the first of equals first. total is within a quantum of the shares' sum, so no
// share moves by a whole quantum, and one that needs no cut does not move. It is the
// method of largest remainders (Hamilton).
func spread(total *big.Int, quantum int64, shares []*big.Rat) []*big.Int {
	floors := make([]*big.Int, len(shares))
	cuts := make([]*big.Rat, len(shares))
	order := make([]int, len(shares))
	left := new(big.Int).Set(total)
	q := big.NewInt(quantum)
	for i, share := range shares {
		den := new(big.Int).Mul(share.Denom(), q)
		floor, rest := new(big.Int).DivMod(share.Num(), den, new(big.Int))
		floors[i], cuts[i], order[i] = floor.Mul(floor, q), new(big.Rat).SetFrac(rest, den), i
		left.Sub(left, floors[i])
	}
	left.Quo(left, q)
	slices.SortStableFunc(order, func(a, b int) int { return cuts[b].Cmp(cuts[a]) })
	if left.Sign() < 0 || left.Cmp(big.NewInt(int64(len(shares)))) > 0 {
		panic("bill: a total that is not that of its shares")
	}
	for _, i := range order[:left.Int64()] {
		floors[i].Add(floors[i], q)
	}
	return floors
}

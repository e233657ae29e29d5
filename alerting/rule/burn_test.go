package rule

import (
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A month of 30 days with a budget of $300 allows $10 a day.
func TestBurnRateAndExhaustion(t *testing.T) {
	t.Parallel()
	usd := func(n int64) schemas.Money { return schemas.Mul(schemas.PicoPerUSD, n) }
	const day = 24 * time.Hour
	for what, c := range map[string]struct {
		got  Value
		want string
	}{
		"even":                    {BurnRate(usd(10), usd(300), day, 30*day), "1x"},
		"three times, in an hour": {BurnRate(schemas.Pico(1_250_000_000_000), usd(300), time.Hour, 30*day), "3x"},
		"no budget":               {BurnRate(usd(10), schemas.Money{}, day, 30*day), "not known"},
		"voids":                   {BurnRate(usd(-10), usd(300), day, 30*day), "-1x"},
		"ten days left":           {TimeToExhaustion(usd(200), usd(10), usd(300), day), "10 days"},
		"a third of a window":     {TimeToExhaustion(usd(297), usd(9), usd(300), 3*time.Hour), "1h"},
		"spent":                   {TimeToExhaustion(usd(300), usd(0), usd(300), day), "0ms"},
		"nothing is spent":        {TimeToExhaustion(usd(200), usd(0), usd(300), day), "not known"},
		"an average":              {Average(Of(10), 4), "2.5"},
		"an average of nothing":   {Average(Of(10), 0), "not known"},
		"a share":                 {ShareOf(OfMoney(usd(1)), OfMoney(usd(4))), "0.25x"},
		"a share of nothing":      {ShareOf(Of(1), Of(0)), "not known"},
		"a share of other things": {ShareOf(Of(1), OfMoney(usd(1))), "not known"},
	} {
		if got := c.got.Show(""); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

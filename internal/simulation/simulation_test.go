package simulation

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone, and tell its story")
	seedsFlag = flag.Uint64("seeds", 20, "how many seeds to run")
	fromFlag  = flag.Uint64("from", 1, "the first seed")
	traceFlag = flag.Bool("trace", false, "print every step of the run of -seed")
)

func TestSimulation(t *testing.T) {
	books := priceBooks(t)
	rare := map[string]int{}
	began := time.Now()
	from, to := *fromFlag, *fromFlag+*seedsFlag
	if *seedFlag != 0 {
		from, to = *seedFlag, *seedFlag+1
	}
	bad := 0
	for seed := from; seed < to; seed++ {
		cfg := config{seed: seed, shape: shapeOf(seed), books: books}
		if *traceFlag {
			cfg.verbose = os.Stdout
		}
		out := simulate(t, cfg)
		for k, n := range out.rare {
			rare[k] += n
		}
		if out.violation != "" {
			bad++
			t.Errorf("seed %d: %s", seed, out.violation)
		}
		if seed == from {
			t.Logf("%+v", out.steps)
			if again := simulate(t, cfg); again.digest != out.digest {
				t.Errorf("seed %d: another run, another trace", seed)
			}
		}
	}
	t.Logf("%d bad, %s", bad, time.Since(began))
	for _, k := range sortedKeys(rare) {
		t.Logf("%6d %s", rare[k], k)
	}
}

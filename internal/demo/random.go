package demo

import (
	"math/bits"
	"math/rand/v2"
)

// random draws whole numbers from a seed, the same on every machine.
type random struct{ src rand.PCG }

func newRandom(seed, stream uint64) *random {
	r := &random{}
	r.src.Seed(seed, stream)
	return r
}

func (r *random) bits() uint64 { return r.src.Uint64() }

// below returns a number of 0 to n-1, n > 0.
func (r *random) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.src.Uint64(), n)
	return hi
}

// one reports true once in n draws, on average.
func (r *random) one(n uint64) bool { return r.below(n) == 0 }

// unit is 1 in the fixed point of heavy and even.
const unit = 1024

// heavyQuantiles are the 32-quantiles of a log-normal distribution with σ = 1,
// scaled so that heavy has the mean 1: most prompts are small, some are large.
var heavyQuantiles = [32]int64{
	49, 85, 119, 147, 174, 201, 227, 253, 281, 309, 338, 368, 400, 434, 470, 509,
	551, 596, 644, 698, 757, 823, 898, 983, 1081, 1197, 1337, 1512, 1740, 2057, 2553, 3547,
}

// heavyTail are the steps of the last quantile: a Pareto distribution with
// α = 1.5, which token counts of production traces are close to, cut at 16 times
// its start so that one call cannot be a visible share of a month.
var heavyTail = [7]int64{1024, 1625, 2580, 4096, 6502, 10321, 16384}

// heavy maps 32 random bits to a factor of mean 1, in 1/1024: log-normal with a
// Pareto tail.
func heavy(u uint32) int64 {
	i := u >> 27
	rest := u << 5
	if i < 31 {
		return between(heavyQuantiles[i], heavyQuantiles[i+1], rest)
	}
	last := len(heavyTail) - 1
	k := min(bits.LeadingZeros32(rest), last)
	step := heavyTail[last]
	if k < last {
		step = between(heavyTail[k], heavyTail[k+1], rest<<(k+1))
	}
	return heavyQuantiles[31] * step / unit
}

// between interpolates: part is the share of the way from a to b in 1/2^32.
func between(a, b int64, part uint32) int64 {
	return a + ((b-a)*int64(part>>16))>>16
}

// even maps 16 random bits to a factor of mean 1, in 1/1024, between 0 and 2.
func even(u uint16) int64 { return int64(u) >> 5 }

package schemas_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

func TestBucketNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range schemas.BucketCount {
		b := schemas.Bucket(i)
		if got, ok := schemas.ParseBucket(b.String()); !ok || got != b || seen[b.String()] || b.Column() != b.String()+"_tokens" {
			t.Errorf("bucket %d is %q and parses as %d, %v", i, b, got, ok)
		}
		seen[b.String()] = true
	}
	if _, ok := schemas.ParseBucket("Input"); ok {
		t.Error("a bucket's name has capitals")
	}
}

// TestTokenTotals: input and output are all buckets and share none.
func TestTokenTotals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b schemas.Tokens
		var in, out int64
		for i := range a {
			a[i] = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax).Draw(t, "a")
			b[i] = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax).Draw(t, "b")
			if schemas.Bucket(i).IsInput() {
				in += a[i]
			} else {
				out += a[i]
			}
		}
		if a.InputTotal() != in || a.OutputTotal() != out || a.Total() != in+out {
			t.Fatalf("%v: %d in, %d out, %d in all", a, a.InputTotal(), a.OutputTotal(), a.Total())
		}
		sum := a
		sum.Add(&b)
		back := b.Negate()
		sum.Add(&back)
		if sum != a {
			t.Fatalf("%v + %v - %v = %v", a, b, b, sum)
		}
	})
}

func TestTokenSumPanicsBeyond64Bits(t *testing.T) {
	for _, c := range [][2]int64{{math.MaxInt64, 1}, {math.MinInt64, -1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d + %d passes", c[0], c[1])
				}
			}()
			(&schemas.Tokens{c[0]}).Add(&schemas.Tokens{c[1]})
		}()
	}
}

package sharding_test

import (
	"fmt"
	"testing"

	"github.com/agentik-os/panda/internal/sharding"
)

// TestOfIsForEver holds the function to numbers that data may have been written
// by: another answer would look for a tenant where it is not.
func TestOfIsForEver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tenant string
		want   [4]uint32 // of 1, 2, 16 and 1000 shards
	}{
		{"", [4]uint32{0, 0, 0, 241}},
		{"ten_000000000001", [4]uint32{0, 1, 2, 950}},
		{"ten_000000000002", [4]uint32{0, 1, 3, 97}},
		{"ten_zzzzzzzzzzzz", [4]uint32{0, 1, 15, 108}},
	} {
		for i, shards := range []uint32{1, 2, 16, 1000} {
			if got := sharding.Of(c.tenant, shards).ID; got != c.want[i] {
				t.Errorf("Of(%q, %d) = %d, want %d", c.tenant, shards, got, c.want[i])
			}
		}
	}
}

func TestOfSpreadsAndStays(t *testing.T) {
	t.Parallel()
	const tenants = 100_000
	for _, shards := range []uint32{1, 2, 3, 8, 16} {
		counts := make([]int, shards)
		moved := 0
		for i := range tenants {
			tenant := fmt.Sprintf("ten_%012d", i)
			s := sharding.Of(tenant, shards).ID
			counts[s]++
			if next := sharding.Of(tenant, shards+1).ID; next != s {
				moved++
				if next != shards {
					t.Fatalf("of %d shards %s is in %d, of one more in %d, which is not the new one", shards, tenant, s, next)
				}
			}
		}
		even := tenants / int(shards)
		for s, n := range counts {
			if n < even*95/100 || n > even*105/100 {
				t.Errorf("of %d shards, shard %d has %d tenants, an even share is %d", shards, s, n, even)
			}
		}
		if share := tenants / int(shards+1); moved < share*95/100 || moved > share*105/100 {
			t.Errorf("from %d shards to one more, %d tenants move, an even share is %d", shards, moved, share)
		}
	}
}

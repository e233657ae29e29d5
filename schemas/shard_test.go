package schemas_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

// TestShardOfIsForEver holds the function to numbers that data may have been written
// by: another answer would look for a tenant where it is not.
func TestShardOfIsForEver(t *testing.T) {
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
			if got := schemas.ShardOf(c.tenant, shards).ID; got != c.want[i] {
				t.Errorf("ShardOf(%q, %d) = %d, want %d", c.tenant, shards, got, c.want[i])
			}
		}
	}
}

func TestShardOfSpreadsAndStays(t *testing.T) {
	t.Parallel()
	const tenants = 100_000
	for _, shards := range []uint32{1, 2, 3, 8, 16} {
		counts := make([]int, shards)
		moved := 0
		for i := range tenants {
			tenant := fmt.Sprintf("ten_%012d", i)
			s := schemas.ShardOf(tenant, shards).ID
			counts[s]++
			if next := schemas.ShardOf(tenant, shards+1).ID; next != s {
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

// TestShardsHaveStreamsApart: what is sent for a tenant lies on the stream of its shard
// and on no other, and a log that is not split has the names it always had.
func TestShardsHaveStreamsApart(t *testing.T) {
	t.Parallel()
	only := schemas.ShardOf("ten_a", 1)
	if got, want := only.Stream(), schemas.StreamUsage; got != want || only != (schemas.Shard{Of: 1}) {
		t.Errorf("the only shard has stream %s, want %s", got, want)
	}
	if got, want := only.DirectSubject("ten_a"), schemas.DirectSubject("ten_a"); got != want {
		t.Errorf("the only shard stores under %s, want %s", got, want)
	}
	streams := map[string]bool{}
	for _, s := range schemas.Shards(12) {
		if streams[s.Stream()] {
			t.Errorf("two shards have stream %s", s.Stream())
		}
		streams[s.Stream()] = true
		for _, other := range schemas.Shards(12) {
			for _, subject := range []string{s.DirectSubject("ten_a"), s.EnvelopeSubject("ten_a"), s.PricesSubject()} {
				matched := slices.ContainsFunc(other.Subjects(), func(filter string) bool {
					return filter == subject || strings.HasSuffix(filter, ".*") && strings.TrimSuffix(filter, "*") == strings.TrimSuffix(subject, "ten_a")
				})
				if matched != (s == other) {
					t.Errorf("%s of shard %s on the stream of shard %s: %t", subject, s, other, matched)
				}
			}
		}
		for subject, kind := range map[string]schemas.SubjectKind{
			s.DirectSubject("ten_a"): schemas.SubjectDirect, s.EnvelopeSubject("ten_a"): schemas.SubjectEnvelope,
		} {
			if got, tenant := schemas.ParseUsageSubject(subject); got != kind || tenant != "ten_a" {
				t.Errorf("ParseUsageSubject(%q) = %d, %q; want %d, ten_a", subject, got, tenant, kind)
			}
		}
	}
}

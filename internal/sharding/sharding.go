package sharding

import (
	"github.com/zeebo/xxh3"

	"github.com/agentik-os/panda/schemas"
)

// Of returns the shard of a tenant where there are of shards, 0 meaning 1: a jump
// consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash
// Algorithm") over the xxh3 of the tenant's id. It depends on nothing else, so it is
// the same in every process and release; from n to n+1 shards, one tenant in n+1 would
// move, all of them to the new shard.
func Of(tenant string, of uint32) schemas.Shard {
	// The paper divides floating-point numbers here. In whole numbers the result does
	// not depend on how a machine rounds.
	key := xxh3.HashString(tenant)
	var b, next uint64
	for next < uint64(max(of, 1)) {
		b = next
		key = key*2862933555777941757 + 1
		next = (b + 1) << 31 / (key>>33 + 1)
	}
	return schemas.Shard{ID: uint32(b), Of: of}
}

package placement

import "github.com/zeebo/xxh3"

// ShardOf returns the shard of a tenant, from 0 to shards-1: a jump consistent hash
// (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm") over the
// xxh3 of the tenant's id. It depends on nothing else, so it is the same in every
// process and release; from n to n+1 shards, one tenant in n+1 moves, all of them to
// the new shard. It panics if shards is 0.
//
// The pipeline has one shard: one writer with one ledger. This function is where more
// of them begin; nothing calls it with more than 1 yet.
func ShardOf(tenant string, shards uint32) uint32 {
	if shards == 0 {
		panic("placement: there is no shard")
	}
	// The paper divides floating-point numbers here. In whole numbers the result does
	// not depend on how a machine rounds.
	key := xxh3.HashString(tenant)
	var b, next uint64
	for next < uint64(shards) {
		b = next
		key = key*2862933555777941757 + 1
		next = (b + 1) << 31 / (key>>33 + 1)
	}
	return uint32(b)
}

-- all tenants: the ledger vouches for sums over all of them.
-- What was erased of conflicts and quarantine, per part as in the statement for the
-- ledger.
SELECT
    toUInt32(arrayCount(b -> b <= from_seq, {bounds:Array(UInt64)})) AS part,
    sum(e.conflicts + e.quarantined) AS rejects,
    toInt64(sum(e.conflicts)) AS conflicts_sum
FROM erased AS e FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND from_seq <= {upto:UInt64}
    AND erasure IN (SELECT erasure FROM erasures FINAL)
GROUP BY part
ORDER BY part

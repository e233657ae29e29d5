-- all tenants: verify holds everything against everything.
-- What the ledger says was kept of events that do not count, per part: part n begins
-- at the n-th of bounds, and the last ends at upto.
SELECT
    toUInt32(arrayCount(b -> b <= from_seq, {bounds:Array(UInt64)})) AS part,
    sum(l.conflicts + l.quarantined) AS rejects,
    toInt64(sum(l.conflicts)) AS conflicts_sum
FROM ledger AS l FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND to_seq <= {upto:UInt64}
GROUP BY part
ORDER BY part

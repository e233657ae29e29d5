-- all tenants: verify holds everything against everything.
-- What the ledger says was written, per part: part n begins at the n-th of
-- bounds, and the last ends at upto. All bounds are beginnings of ranges.
SELECT
    toUInt32(arrayCount(b -> b <= from_seq, {bounds:Array(UInt64)})) AS part,
    sum(l.accepted) AS accepted_sum,
    sum(l.calls) AS calls_sum,
    sum(l.tokens) AS tokens_sum,
    sum(l.cost) AS cost_sum,
    sum(l.row_hash) AS hash_sum
FROM ledger AS l FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND to_seq <= {upto:UInt64}
GROUP BY part
ORDER BY part

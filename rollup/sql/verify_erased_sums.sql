-- all tenants: the ledger vouches for sums over all of them.
-- What was erased of the rows that the ledger vouches for, per part as in the statement
-- for the ledger: rows that are stored and these add up to it.
SELECT
    toUInt32(arrayCount(b -> b <= from_seq, {bounds:Array(UInt64)})) AS part,
    sum(e.accepted) AS accepted_sum,
    sum(e.calls) AS calls_sum,
    sum(e.tokens) AS tokens_sum,
    sum(e.cost) AS cost_sum,
    sum(e.row_hash) AS hash_sum
FROM erased AS e FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND from_seq <= {upto:UInt64}
    AND erasure IN (SELECT erasure FROM erasures FINAL)
GROUP BY part
ORDER BY part

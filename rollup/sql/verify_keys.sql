-- all tenants: verify holds everything against everything.
-- The identities that are taken, per part as in the statement for the ledger.
-- Copies of repeated ranges are counted once. The hash is over the place that took
-- each, so that one that is missing and one too many do not make up for each other.
SELECT
    toUInt32(arrayCount(b -> b <= seq, {bounds:Array(UInt64)})) AS part,
    count() AS keys_taken,
    sum(cityHash64(seq)) AS hash_sum
FROM usage_keys FINAL
WHERE seq >= {from:UInt64}
    AND seq <= {upto:UInt64}
    AND seq NOT IN
    (
        SELECT arrayJoin(keys)
        FROM erased
        WHERE erasure IN (SELECT erasure FROM erasures FINAL WHERE whole = 1 AND state = 1)
    )
GROUP BY part
ORDER BY part

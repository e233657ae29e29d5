-- How many identities are taken, per part as in the statement for the ledger.
-- Copies of repeated ranges are counted once.
SELECT
    toUInt32(arrayCount(b -> b <= seq, {bounds:Array(UInt64)})) AS part,
    uniqExact(key) AS keys_taken
FROM usage_keys
WHERE seq >= {from:UInt64}
    AND seq <= {upto:UInt64}
GROUP BY part
ORDER BY part

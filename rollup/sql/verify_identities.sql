-- all tenants: verify holds everything against everything.
-- The identities that the rows of usage_raw need, per part as in the statement for
-- the ledger: each its own, and a void the one that says that its target is
-- voided. The hash is that of the statement for the keys.
SELECT
    toUInt32(arrayCount(b -> b <= seq, {bounds:Array(UInt64)})) AS part,
    count() + countIf(type = 'void') AS keys_needed,
    sum(cityHash64(seq) * if(type = 'void', 2, 1)) AS hash_sum
FROM {database:Identifier}.usage_raw FINAL
WHERE seq >= {from:UInt64}
    AND seq <= {upto:UInt64}
    AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
    AND NOT (tenant IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
        AND seq <= (SELECT max(position) FROM erasures FINAL WHERE whole = 1 AND state = 1))
GROUP BY part
ORDER BY part

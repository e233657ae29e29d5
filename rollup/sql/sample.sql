-- all tenants: it reads places in the log, which all tenants share.
-- Some committed ranges that begin at or after a place in the log, another choice
-- for another salt, in order of the log.
SELECT from_seq
FROM
(
    SELECT from_seq
    FROM ledger FINAL
    WHERE shard = {shard:UInt32}
        AND from_seq >= {from:UInt64}
        AND to_seq <= {upto:UInt64}
    ORDER BY cityHash64(from_seq, {salt:UInt64})
    LIMIT {limit:UInt32}
)
ORDER BY from_seq

-- all tenants: it reads places in the log, which all tenants share.
-- The committed ranges after a position, in order, with how many dirty windows
-- each names, and before them the range that should end at the position. Reads
-- the ledger from the position on, whatever its length: it is ordered by
-- (shard, from_seq).
SELECT from_seq, to_seq, pairs
FROM
(
    SELECT from_seq, to_seq, toUInt64(0) AS pairs
    FROM ledger FINAL
    WHERE shard = {shard:UInt32} AND from_seq <= {position:UInt64}
    ORDER BY shard DESC, from_seq DESC
    LIMIT 1
    UNION ALL
    SELECT from_seq, to_seq, length(dirty_hours) AS pairs
    FROM ledger FINAL
    WHERE shard = {shard:UInt32} AND from_seq > {position:UInt64}
    ORDER BY shard, from_seq
    LIMIT {limit:UInt32}
)
ORDER BY from_seq

-- The position before the newest ranges: where the oldest of them begins, less
-- one; 0 when the ledger is empty.
SELECT toUInt64(if(count() = 0, 0, min(from_seq) - 1)) AS before
FROM
(
    SELECT from_seq
    FROM ledger FINAL
    WHERE shard = {shard:UInt32}
    ORDER BY shard DESC, from_seq DESC
    LIMIT {ranges:UInt32}
)

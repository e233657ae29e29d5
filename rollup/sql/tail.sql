-- all tenants: it reads a place in the log, which all tenants share.
-- The position before the newest ranges: where the oldest of them begins, less
-- one; 0 when the ledger is empty. Parts that were taken out of a table, and may not
-- have been restored, make it 0 too: then everything is looked at.
SELECT toUInt64(if(
    count() = 0 OR (
        SELECT count() > 0
        FROM system.detached_parts
        WHERE database IN (SELECT arrayJoin({databases:Array(String)})) AND table IN ('usage_raw', 'usage_keys', 'conflicts', 'quarantine')
    ),
    0,
    min(from_seq) - 1
)) AS before
FROM
(
    SELECT from_seq
    FROM ledger FINAL
    WHERE shard = {shard:UInt32}
    ORDER BY shard DESC, from_seq DESC
    LIMIT {ranges:UInt32}
)

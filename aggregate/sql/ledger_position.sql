-- all tenants: it reads a place in the log, which all tenants share.
-- The end of the newest range that is committed, which is what live totals are
-- rebuilt as of. Reads one row: the ledger is ordered by (shard, from_seq).
SELECT
    to_seq,
    toUnixTimestamp64Milli(committed_at) AS committed_ms
FROM ledger
WHERE shard = {shard:UInt32}
ORDER BY shard DESC, from_seq DESC
LIMIT 1

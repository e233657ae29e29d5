-- all tenants: it reads places in the log, which all tenants share.
-- The ranges that were committed before a moment.
SELECT
    from_seq,
    to_seq
FROM ledger FINAL
WHERE shard = {shard:UInt32}
    AND committed_at < fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')

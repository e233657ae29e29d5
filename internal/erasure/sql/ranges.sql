-- all tenants: it reads places in the log, which all tenants share.
-- The committed ranges up to a position, in order.
SELECT
    from_seq,
    to_seq
FROM ledger FINAL
WHERE shard = {shard:UInt32}
    AND from_seq <= {upto:UInt64}
ORDER BY from_seq

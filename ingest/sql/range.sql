-- all tenants: a range of the log is judged again as a whole.
-- One committed range with all it must add up to, and the price revision that was
-- in force before it: that of the range that ends where it begins.
SELECT
    epoch,
    from_seq,
    to_seq,
    messages,
    events,
    accepted,
    duplicates,
    conflicts,
    quarantined,
    calls,
    unpriced,
    late,
    tokens,
    cost,
    row_hash,
    price_revision,
    (
        SELECT argMax(price_revision, to_seq)
        FROM ledger
        WHERE shard = {shard:UInt32} AND from_seq < {from:UInt64}
    ) AS revision_before
FROM ledger FINAL
WHERE shard = {shard:UInt32}
    AND from_seq = {from:UInt64}

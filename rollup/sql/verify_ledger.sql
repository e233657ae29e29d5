-- all tenants: verify holds everything against everything.
-- A page of the ledger in order of the log, for the check that its ranges follow
-- each other and that each range accounts for its events.
SELECT
    from_seq,
    to_seq,
    messages,
    events,
    accepted + duplicates + conflicts + quarantined AS verdicts
FROM ledger FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND to_seq <= {upto:UInt64}
ORDER BY shard, from_seq
LIMIT {limit:UInt32}

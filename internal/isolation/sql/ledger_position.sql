-- all tenants: it reads places in the log, which all tenants share.
-- The end of the newest committed range, with a count that keeps an empty ledger apart
-- from an answer that got lost.
SELECT
    count() AS rows,
    max(to_seq) AS position
FROM ledger
WHERE shard = {shard:UInt32}

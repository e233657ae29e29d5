-- all tenants: it reads a place in the log, which all tenants share.
-- The position of a shard: where the newest committed range ends and which price
-- revision was in force there, and when the newest commit was. count() keeps an empty ledger apart from an answer
-- that got lost on the way.
SELECT
    count() AS rows,
    max(to_seq) AS position,
    argMax(epoch, to_seq) AS epoch,
    argMax(price_revision, to_seq) AS revision,
    toUnixTimestamp64Milli(max(committed_at)) AS committed_ms
FROM ledger
WHERE shard = {shard:UInt32}

-- all tenants: verify holds everything against everything.
-- How many ranges a span of the ledger has.
SELECT
    count() AS ranges,
    max(to_seq) AS newest
FROM ledger FINAL
WHERE shard = {shard:UInt32} AND from_seq >= {from:UInt64} AND to_seq <= {upto:UInt64}

-- all tenants: it reads places in the log, which all tenants share.
-- Up to where the log is counted.
SELECT max(to_seq) AS position
FROM ledger
WHERE shard = {shard:UInt32}

-- The keys of a range of the log, to fill the writer's filter. Keys beyond the
-- ledger's position belong to a range that was not committed and are left out.
SELECT key
FROM usage_keys
WHERE seq > {after:UInt64} AND seq <= {up_to:UInt64}

-- all tenants: verify holds everything against everything.
-- Who is concerned by a range that does not add up: the tenants the ledger names
-- for it, and how many rows each has in usage_raw.
SELECT
    tenant_name,
    max(named) AS in_ledger,
    sum(row_count) AS rows_in_raw
FROM
(
    SELECT DISTINCT tenant_name, toUInt8(1) AS named, toUInt64(0) AS row_count
    FROM ledger
    ARRAY JOIN dirty_tenants AS tenant_name
    WHERE shard = {shard:UInt32} AND from_seq >= {from:UInt64} AND to_seq <= {upto:UInt64}
    UNION ALL
    SELECT tenant AS tenant_name, toUInt8(0) AS named, count() AS row_count
    FROM {database:Identifier}.usage_raw FINAL
    WHERE seq >= {from:UInt64} AND seq <= {upto:UInt64}
        AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
    GROUP BY tenant_name
)
GROUP BY tenant_name
ORDER BY tenant_name
LIMIT {limit:UInt32}

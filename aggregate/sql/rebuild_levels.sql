-- all tenants: the newest levels of everybody; each lands at its own tenant.
-- The newest level of every name per tenant, over the kept months, as of a
-- ledger position. Few events are samples, so their type is read first.
SELECT
    tenant,
    name,
    argMax(value, (time, seq, idx)) AS value,
    toUnixTimestamp64Milli(max(time)) AS time_ms,
    argMax(seq, (time, seq, idx)) AS newest_seq,
    argMax(idx, (time, seq, idx)) AS newest_idx
FROM
(
    SELECT tenant, time, seq, idx, name, value
    FROM {database:Identifier}.usage_raw FINAL
    ARRAY JOIN mapKeys(units) AS name, mapValues(units) AS value
    WHERE time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
        AND seq <= {position:UInt64}
        AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
        AND type = 'resource.sample'
)
GROUP BY tenant, name

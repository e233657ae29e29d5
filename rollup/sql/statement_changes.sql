-- The months of a tenant that usage came to after a ledger position, and why: voids,
-- adjustments, and everything else, which is late. Positions are few behind the newest
-- seal, and the index on seq leaves the rest out.
SELECT
    toInt64(toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC'))) AS month_s,
    countIf(type = 'void') AS voids,
    countIf(type = 'adjustment') AS adjustments,
    countIf(type NOT IN ('void', 'adjustment')) AS late
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND seq > {after:UInt64}
    AND seq <= {position:UInt64}
GROUP BY month_s
ORDER BY month_s

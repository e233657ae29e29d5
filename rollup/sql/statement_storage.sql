-- The highest storage level of a tenant that was reported in a part of a month, or the
-- one that stood when it began. Levels are looked for in the quarter of a year before:
-- a level that nobody repeats for longer does not count.
SELECT greatest(
    maxIf(value, time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')),
    argMaxIf(value, (time, seq, idx), time < fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC'))) AS bytes
FROM
(
    SELECT time, seq, idx, units['storage_bytes'] AS value
    FROM {database:Identifier}.usage_raw FINAL
    WHERE tenant = {tenant:String}
        AND time >= subtractDays(fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC'), 92)
        AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
        AND seq <= {position:UInt64}
        AND type = 'resource.sample'
        AND mapContains(units, 'storage_bytes')
)

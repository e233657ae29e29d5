-- One tenant's conflicts and quarantined events over a span of receipt times.
-- Open ones have not been replayed.
SELECT
    (
        SELECT toInt64(count())
        FROM conflicts FINAL
        WHERE tenant = {tenant:String}
            AND received_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
            AND received_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    ) AS conflict_count,
    toInt64(count()) AS quarantined,
    toInt64(countIf(state != 'replayed')) AS open
FROM quarantine FINAL
WHERE tenant = {tenant:String}
    AND received_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND received_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')

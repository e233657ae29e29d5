-- all tenants: verify holds everything against everything.
-- The months that hold events or windows.
SELECT DISTINCT month_s
FROM
(
    SELECT toInt64(toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC'))) AS month_s
    FROM {database:Identifier}.usage_raw
    GROUP BY month_s
    UNION ALL
    SELECT toInt64(toUnixTimestamp(toDateTime(toStartOfMonth(window), 'UTC'))) AS month_s
    FROM {database:Identifier}.rollup
    GROUP BY month_s
)
ORDER BY month_s

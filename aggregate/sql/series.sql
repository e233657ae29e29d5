-- The days or hours of one tenant's month, for a curve. Windows without usage
-- have no row.
SELECT
    toInt64(toUnixTimestamp(window)) AS window_s,
    calls,
    unpriced,
    tokens,
    cost
FROM {database:Identifier}.rollup FINAL
WHERE tenant = {tenant:String}
    AND grain = {grain:String}
    AND window >= toDateTime({from_s:Int64}, 'UTC')
    AND window < toDateTime({to_s:Int64}, 'UTC')
ORDER BY window_s

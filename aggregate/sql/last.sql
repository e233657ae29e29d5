-- When one tenant made its newest call, for alert rules. The rollups say from which
-- hour on to look, so that a tenant's history is not read for it.
SELECT toUnixTimestamp64Milli(max(time)) AS last_ms
FROM {database:Identifier}.usage_raw
WHERE tenant = {tenant:String}
    AND calls > 0
    AND time >= (
        SELECT toDateTime64(max(window), 3, 'UTC')
        FROM {database:Identifier}.rollup
        WHERE tenant = {tenant:String} AND grain = 'hour' AND calls > 0
    )
HAVING count() > 0

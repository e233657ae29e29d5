-- all tenants: it names which windows of whom are recomputed next.
-- The hours that a span of the ledger touched, each once, in the order in which
-- they are recomputed: month by month, because a month is a partition of both
-- tables.
SELECT DISTINCT
    tenant,
    toInt64(toUnixTimestamp(hour)) AS hour_s
FROM ledger
ARRAY JOIN dirty_tenants AS tenant, dirty_hours AS hour
WHERE shard = {shard:UInt32}
    AND from_seq > {after:UInt64}
    AND from_seq <= {upto:UInt64}
ORDER BY toYYYYMM(hour), tenant, hour_s

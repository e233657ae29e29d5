-- all tenants: sums of the whole platform, for its operators; the route is theirs alone.
-- What came in over a span of commit times, on the whole platform: the ledger
-- does not split its counts by tenant.
SELECT
    toInt64(sum(l.messages)) AS messages,
    toInt64(sum(l.events)) AS events,
    toInt64(sum(l.accepted)) AS accepted,
    toInt64(sum(l.duplicates)) AS duplicates,
    toInt64(sum(l.conflicts)) AS conflicts,
    toInt64(sum(l.quarantined)) AS quarantined,
    toInt64(sum(l.late)) AS late,
    toInt64(sum(l.unpriced)) AS unpriced
FROM ledger AS l FINAL
WHERE committed_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND committed_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')

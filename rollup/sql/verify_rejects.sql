-- What is kept of events that do not count, per part as in the statement for the
-- ledger: conflicts, and quarantined messages and events.
SELECT
    toUInt32(arrayCount(b -> b <= seq, {bounds:Array(UInt64)})) AS part,
    count() AS rejects,
    toInt64(countIf(is_conflict)) AS conflicts
FROM
(
    SELECT seq, 1 AS is_conflict
    FROM conflicts FINAL
    WHERE seq >= {from:UInt64} AND seq <= {upto:UInt64}
        AND NOT (tenant IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
            AND seq <= (SELECT max(position) FROM erasures FINAL WHERE whole = 1 AND state = 1))
    UNION ALL
    SELECT seq, 0 AS is_conflict
    FROM quarantine FINAL
    WHERE seq >= {from:UInt64} AND seq <= {upto:UInt64}
        AND NOT (tenant IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
            AND seq <= (SELECT max(position) FROM erasures FINAL WHERE whole = 1 AND state = 1))
)
GROUP BY part
ORDER BY part

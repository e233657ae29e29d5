-- The rejects of a tenant, per message.
SELECT
    seq,
    countIf(is_conflict = 1) AS conflicts_count,
    countIf(is_conflict = 0) AS quarantined_count
FROM
(
    SELECT seq, 1 AS is_conflict
    FROM conflicts FINAL
    WHERE tenant = {tenant:String} AND seq > {after:UInt64} AND seq <= {upto:UInt64}
    UNION ALL
    SELECT seq, 0 AS is_conflict
    FROM quarantine FINAL
    WHERE tenant = {tenant:String} AND seq > {after:UInt64} AND seq <= {upto:UInt64}
)
GROUP BY seq
ORDER BY seq

-- The bodies of a tenant's rejects, in which a user may be named.
SELECT
    bitShiftLeft(seq, 16) + idx AS place,
    body
FROM
(
    SELECT seq, idx, body FROM conflicts FINAL WHERE tenant = {tenant:String} AND seq <= {upto:UInt64}
    UNION ALL
    SELECT seq, idx, body FROM quarantine FINAL WHERE tenant = {tenant:String} AND seq <= {upto:UInt64}
)
ORDER BY place

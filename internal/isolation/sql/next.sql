-- Where the next chunk of a copy ends: the place on the log of the tenant's n-th row
-- after a place, and how many rows there are up to it. A message may bring many rows
-- of one place, so a chunk is cut between places and may be larger than asked for.
SELECT
    max(place) AS upto,
    count() AS rows
FROM
(
    SELECT bitNot(rank) AS place
    FROM {source:Identifier}.usage_raw
    WHERE tenant = {tenant:String}
        AND seq > {after:UInt64}
        AND seq <= {upto:UInt64}
    ORDER BY place
    LIMIT {limit:UInt32}
)

-- How many rows of a tenant there are up to a position, with a hash over their places
-- on the log: cheap enough for the pause of a move, after every row was compared.
SELECT
    count() AS row_count,
    toInt64(0) AS calls_sum,
    toInt64(0) AS tokens_sum,
    toDecimal128(0, 12) AS cost_sum,
    sum(cityHash64(rank, idx)) AS hash_sum
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND seq <= {upto:UInt64}

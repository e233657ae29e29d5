-- What a tenant's windows add up to in one database, with a hash over every column.
SELECT
    count() AS row_count,
    sum(calls) AS calls_sum,
    sum(tokens) AS tokens_sum,
    sum(cost) AS cost_sum,
    sum(cityHash64(*)) AS hash_sum
FROM {database:Identifier}.rollup FINAL
WHERE tenant = {tenant:String}

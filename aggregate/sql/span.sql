-- What one tenant's calls in a span of time add up to, for each name of one dimension
-- or for all of them together, for alert rules. Sums take voided calls away; the
-- latency is that of all calls that were made.
SELECT
    multiIf(
        {by:String} = 'provider', toString(provider),
        {by:String} = 'model', toString(model),
        {by:String} = 'department', toString(department),
        {by:String} = 'cost_center', toString(cost_center),
        {by:String} = 'agent', toString(agent),
        '') AS name,
    toInt64(sum(u.calls)) AS sum_calls,
    toInt64(sumIf(u.calls, status = 'error')) AS sum_errors,
    toInt64(sumIf(u.calls, isNull(u.cost))) AS sum_unpriced,
    toInt64(quantileExactIf(0.95)(latency_ms, u.calls > 0)) AS p95_ms,
    sum(ifNull(u.cost, toDecimal128(0, 12))) AS sum_cost
FROM {database:Identifier}.usage_raw AS u FINAL
WHERE tenant = {tenant:String}
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
GROUP BY name
ORDER BY name
LIMIT {limit:UInt32}
SETTINGS defer_partition_pruning_after_final = 0

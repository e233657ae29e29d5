-- all tenants: live totals count everybody's events; each lands in its own tenant's total.
-- The live totals of all tenants as of a ledger position, in one pass over the
-- kept months. The pass groups by day for the kept days and by month before
-- them (day_s is 0 there), so that it reads every event once; the fold adds each
-- sum to its month and, if there is one, to its day.
SELECT
    tenant,
    toInt64(toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC'))) AS month_s,
    toInt64(if(time >= fromUnixTimestamp64Milli({days_from_ms:Int64}, 'UTC'),
        toUnixTimestamp(toStartOfDay(time)), 0)) AS day_s,
    provider,
    model,
    department,
    cost_center,
    agent,
    sum(u.calls) AS calls,
    sumIf(u.calls, status = 'error') AS errors,
    sumIf(u.calls, isNull(u.cost)) AS unpriced,
    sum(u.calls * toInt64(u.latency_ms)) AS latency_ms,
    sum(u.input_tokens) AS input_tokens,
    sum(u.cache_read_tokens) AS cache_read_tokens,
    sum(u.cache_write_5m_tokens) AS cache_write_5m_tokens,
    sum(u.cache_write_1h_tokens) AS cache_write_1h_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.reasoning_tokens) AS reasoning_tokens,
    sum(u.audio_in_tokens) AS audio_in_tokens,
    sum(u.audio_out_tokens) AS audio_out_tokens,
    sum(u.image_tokens) AS image_tokens,
    sum(ifNull(u.cost, toDecimal128(0, 12))) AS cost
FROM {database:Identifier}.usage_raw AS u FINAL
WHERE time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND seq <= {position:UInt64}
    AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
GROUP BY tenant, month_s, day_s, provider, model, department, cost_center, agent
SETTINGS defer_partition_pruning_after_final = 0

-- What a tenant used in a part of a month, by all names, as of a ledger position: from
-- events and not from windows, because a window knows only its newest position, and a
-- plan may change in the middle of an hour.
SELECT
    provider,
    model,
    department,
    cost_center,
    agent,
    sum(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens
        + reasoning_tokens + audio_in_tokens + audio_out_tokens + image_tokens) AS tokens,
    sum(ifNull(cost, toDecimal128(0, 12))) AS total_cost,
    sumIf(toInt64(calls), isNull(cost)) AS unpriced
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND seq <= {position:UInt64}
GROUP BY provider, model, department, cost_center, agent
ORDER BY provider, model, department, cost_center, agent
SETTINGS defer_partition_pruning_after_final = 0

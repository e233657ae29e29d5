-- The agents of a tenant, as its events tell.
SELECT
    agent,
    min(time) AS first_seen,
    max(time) AS last_seen,
    sum(toInt64(calls)) AS calls_sum,
    sum(
        input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens
            + reasoning_tokens + audio_in_tokens + audio_out_tokens + image_tokens
    ) AS tokens_sum,
    sum(ifNull(cost, toDecimal128(0, 12))) AS cost_sum
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND agent != ''
    AND seq <= {position:UInt64}
GROUP BY agent
ORDER BY agent

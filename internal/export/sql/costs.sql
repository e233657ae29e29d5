-- What a tenant spent, per month and model.
SELECT
    formatDateTime(time, '%Y-%m', 'UTC') AS month,
    provider,
    model,
    sum(toInt64(calls)) AS calls_sum,
    sumIf(toInt64(calls), isNull(cost)) AS unpriced_sum,
    sum(
        input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens
            + reasoning_tokens + audio_in_tokens + audio_out_tokens + image_tokens
    ) AS tokens_sum,
    sum(ifNull(cost, toDecimal128(0, 12))) AS cost_sum
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND seq <= {position:UInt64}
GROUP BY month, provider, model
ORDER BY month, provider, model

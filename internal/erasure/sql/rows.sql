-- What the rows of a tenant add up to, per message; the hash is that of the ledger. Late
-- is what came more than an hour after it happened.
SELECT
    seq,
    count() AS rows_count,
    sum(call_count) AS calls_sum,
    countIf(isNull(cost)) AS unpriced_count,
    countIf(late_ms > 3600000) AS late_count,
    sum(token_count) AS tokens_sum,
    sum(ifNull(cost, toDecimal128(0, 12))) AS cost_sum,
    sum(xxh3(concat(
        tenant, '\0', source, '\0', event_id, '\0', toString(seq), '\0', toString(idx), '\0',
        ifNull(toString(reinterpretAsInt128(cost)), 'null'), '\0', toString(token_count)
    ))) AS hash_sum
FROM
(
    SELECT
        tenant, source, event_id, seq, idx, cost, toInt64(calls) AS call_count,
        toUnixTimestamp64Milli(received_at) - toUnixTimestamp64Milli(time) AS late_ms,
        input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens
            + output_tokens + reasoning_tokens + audio_in_tokens + audio_out_tokens
            + image_tokens AS token_count
    FROM {database:Identifier}.usage_raw FINAL
    WHERE tenant = {tenant:String}
        AND seq > {after:UInt64} AND seq <= {upto:UInt64}
)
GROUP BY seq
ORDER BY seq

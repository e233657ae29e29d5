-- What a tenant's rows of a span of the log add up to in one database, with a hash over
-- every column. A hash of a row that has no cost would be NULL and be left out of the
-- sum, so the cost is taken apart.
SELECT
    count() AS row_count,
    sum(toInt64(calls)) AS calls_sum,
    sum(
        input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens
            + reasoning_tokens + audio_in_tokens + audio_out_tokens + image_tokens
    ) AS tokens_sum,
    sum(ifNull(cost, toDecimal128(0, 12))) AS cost_sum,
    sum(cityHash64(* EXCEPT cost, isNull(cost), ifNull(cost, toDecimal128(0, 12)))) AS hash_sum
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND seq > {after:UInt64}
    AND seq <= {upto:UInt64}
SETTINGS use_skip_indexes = 1, use_skip_indexes_if_final = 1

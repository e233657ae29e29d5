-- all tenants: verify holds everything against everything.
-- What is in usage_raw, per part as in the statement for the ledger. The hash is
-- the one the writer puts into the ledger: over tenant, source, id, place, cost
-- in pico-USD and all tokens. Rows of a tenant that is being erased are left out: the
-- statement for what was erased has their sums.
SELECT
    toUInt32(arrayCount(b -> b <= seq, {bounds:Array(UInt64)})) AS part,
    count() AS accepted_sum,
    sum(call_count) AS calls_sum,
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
        input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens
            + output_tokens + reasoning_tokens + audio_in_tokens + audio_out_tokens
            + image_tokens AS token_count
    FROM {database:Identifier}.usage_raw FINAL
    WHERE seq >= {from:UInt64}
        AND seq <= {upto:UInt64}
        AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
        AND NOT (tenant IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
            AND seq <= (SELECT max(position) FROM erasures FINAL WHERE whole = 1 AND state = 1))
)
GROUP BY part
ORDER BY part

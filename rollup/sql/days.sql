-- all tenants: a batch recomputes the windows of many tenants, each from its own hours.
-- Recomputes the days of one batch from their hours, dirty or not. An hour whose
-- breakdown is empty still makes its day appear (LEFT ARRAY JOIN).
-- The day's hours are spelled out, so that the pairs meet the primary key.
INSERT INTO {database:Identifier}.rollup
(
    tenant, grain, window, gen, computed_at, calls, unpriced, tokens, cost,
    by.provider, by.model, by.department, by.cost_center, by.agent, by.calls, by.errors,
    by.unpriced, by.latency_ms, by.input_tokens, by.cache_read_tokens, by.cache_write_5m_tokens,
    by.cache_write_1h_tokens, by.output_tokens, by.reasoning_tokens, by.audio_in_tokens,
    by.audio_out_tokens, by.image_tokens, by.cost
)
SELECT
    tenant,
    'day',
    start,
    {position:UInt64},
    fromUnixTimestamp64Milli({computed_ms:Int64}, 'UTC'),
    window_calls,
    window_unpriced,
    window_tokens,
    window_cost,
    combos.1, combos.2, combos.3, combos.4, combos.5, combos.6, combos.7, combos.8, combos.9,
    combos.10, combos.11, combos.12, combos.13, combos.14, combos.15, combos.16, combos.17,
    combos.18, combos.19
FROM
(
    SELECT
        tenant,
        start,
        sum(s_calls) AS window_calls,
        sum(s_unpriced) AS window_unpriced,
        sum(s_input + s_cache_read + s_cache_write_5m + s_cache_write_1h + s_output
            + s_reasoning + s_audio_in + s_audio_out + s_image) AS window_tokens,
        sum(s_cost) AS window_cost,
        arraySort(groupArrayIf(
            (
                provider, model, department, cost_center, agent, s_calls, s_errors, s_unpriced,
                s_latency_ms, s_input, s_cache_read, s_cache_write_5m, s_cache_write_1h, s_output,
                s_reasoning, s_audio_in, s_audio_out, s_image, s_cost
            ),
            s_calls != 0 OR s_errors != 0 OR s_unpriced != 0 OR s_latency_ms != 0 OR s_input != 0
                OR s_cache_read != 0 OR s_cache_write_5m != 0 OR s_cache_write_1h != 0 OR s_output != 0
                OR s_reasoning != 0 OR s_audio_in != 0 OR s_audio_out != 0 OR s_image != 0
                OR s_cost != 0
        )) AS combos
    FROM
    (
        SELECT
            tenant,
            toDateTime(toStartOfDay(window), 'UTC') AS start,
            by.provider AS provider,
            by.model AS model,
            by.department AS department,
            by.cost_center AS cost_center,
            by.agent AS agent,
            sum(by.calls) AS s_calls,
            sum(by.errors) AS s_errors,
            sum(by.unpriced) AS s_unpriced,
            sum(by.latency_ms) AS s_latency_ms,
            sum(by.input_tokens) AS s_input,
            sum(by.cache_read_tokens) AS s_cache_read,
            sum(by.cache_write_5m_tokens) AS s_cache_write_5m,
            sum(by.cache_write_1h_tokens) AS s_cache_write_1h,
            sum(by.output_tokens) AS s_output,
            sum(by.reasoning_tokens) AS s_reasoning,
            sum(by.audio_in_tokens) AS s_audio_in,
            sum(by.audio_out_tokens) AS s_audio_out,
            sum(by.image_tokens) AS s_image,
            sum(by.cost) AS s_cost
        FROM {database:Identifier}.rollup FINAL
        LEFT ARRAY JOIN by
        WHERE grain = 'hour'
            AND window >= toDateTime({from_s:Int64}, 'UTC')
            AND window < toDateTime({to_s:Int64}, 'UTC')
            AND (tenant, window) IN
            (
                SELECT t, addHours(toStartOfDay(h), arrayJoin(range(24))) AS w
                FROM ledger
                ARRAY JOIN dirty_tenants AS t, dirty_hours AS h
                WHERE shard = {shard:UInt32}
                    AND from_seq > {after:UInt64}
                    AND from_seq <= {named_upto:UInt64}
                    AND (empty({elsewhere:Array(String)}) OR t NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
                    AND h >= toDateTime({from_s:Int64}, 'UTC')
                    AND h < toDateTime({to_s:Int64}, 'UTC')
                    AND (t, toDateTime(toStartOfDay(h), 'UTC'))
                        >= ({first_tenant:String}, toDateTime({first_s:Int64}, 'UTC'))
                    AND (t, toDateTime(toStartOfDay(h), 'UTC'))
                        <= ({last_tenant:String}, toDateTime({last_s:Int64}, 'UTC'))
            )
        GROUP BY tenant, start, provider, model, department, cost_center, agent
    )
    GROUP BY tenant, start
)

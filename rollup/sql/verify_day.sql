-- all tenants: verify holds everything against everything.
-- The days of one month that are not the sum of their hours; see the
-- statement for hours.
SELECT
    if(is_window, w.tenant, s.tenant) AS tenant_name,
    toInt64(toUnixTimestamp(if(is_window, w.start, s.start))) AS start_s,
    is_source,
    is_window,
    s.calls_sum,
    w.calls_sum,
    s.tokens_sum,
    w.tokens_sum,
    s.cost_sum,
    w.cost_sum,
    s.combos_hash = w.combos_hash AS same_breakdown,
    greatest(s.moving, w.moving) AS is_moving,
    count() OVER () AS differences
FROM
(
    SELECT
        tenant,
        start,
        toUInt8(1) AS is_source,
        sum(s_calls) AS calls_sum,
        sum(s_input + s_cache_read + s_cache_write_5m + s_cache_write_1h + s_output
            + s_reasoning + s_audio_in + s_audio_out + s_image) AS tokens_sum,
        sum(s_cost) AS cost_sum,
        sumIf(
            cityHash64(
                provider, model, department, cost_center, agent, s_calls, s_errors, s_unpriced,
                s_latency_ms, s_input, s_cache_read, s_cache_write_5m, s_cache_write_1h, s_output,
                s_reasoning, s_audio_in, s_audio_out, s_image, s_cost
            ),
            s_calls != 0 OR s_errors != 0 OR s_unpriced != 0 OR s_latency_ms != 0 OR s_cost != 0
                OR s_input != 0 OR s_cache_read != 0 OR s_cache_write_5m != 0 OR s_cache_write_1h != 0
                OR s_output != 0 OR s_reasoning != 0 OR s_audio_in != 0 OR s_audio_out != 0 OR s_image != 0
        ) AS combos_hash,
        max(s_moving) AS moving
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
            sum(by.cost) AS s_cost,
            toUInt8(max(gen > {position:UInt64})) AS s_moving
        FROM {database:Identifier}.rollup FINAL
        LEFT ARRAY JOIN by
        WHERE grain = 'hour'
            AND window >= toDateTime({from_s:Int64}, 'UTC')
            AND window < toDateTime({to_s:Int64}, 'UTC')
            AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
            AND tenant NOT IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
        GROUP BY tenant, start, provider, model, department, cost_center, agent
    )
    GROUP BY tenant, start
) AS s
FULL JOIN
(
    SELECT
        tenant,
        window AS start,
        toUInt8(1) AS is_window,
        any(calls) AS calls_sum,
        any(tokens) AS tokens_sum,
        any(cost) AS cost_sum,
        sum(arrayJoin(if(empty(by.calls), [toUInt64(0)], arrayMap(
            (p, m, d, c, a, n, e, u, l, t1, t2, t3, t4, t5, t6, t7, t8, t9, x)
                -> cityHash64(p, m, d, c, a, n, e, u, l, t1, t2, t3, t4, t5, t6, t7, t8, t9, x),
            by.provider, by.model, by.department, by.cost_center, by.agent, by.calls, by.errors,
            by.unpriced, by.latency_ms, by.input_tokens, by.cache_read_tokens, by.cache_write_5m_tokens, by.cache_write_1h_tokens,
            by.output_tokens, by.reasoning_tokens, by.audio_in_tokens, by.audio_out_tokens, by.image_tokens,
            by.cost
        )))) AS combos_hash,
        toUInt8(max(gen > {position:UInt64})) AS moving
    FROM {database:Identifier}.rollup FINAL
    WHERE grain = 'day'
        AND window >= toDateTime({from_s:Int64}, 'UTC')
        AND window < toDateTime({to_s:Int64}, 'UTC')
        AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
        AND tenant NOT IN (SELECT tenant FROM erasures FINAL WHERE whole = 1 AND state = 1)
    GROUP BY tenant, start
) AS w ON s.tenant = w.tenant AND s.start = w.start
WHERE is_source != is_window
    OR s.calls_sum != w.calls_sum
    OR s.tokens_sum != w.tokens_sum
    OR s.cost_sum != w.cost_sum
    OR s.combos_hash != w.combos_hash
ORDER BY is_moving, tenant_name, start_s
LIMIT {limit:UInt32}

-- all tenants: a batch recomputes the windows of many tenants, each from its own events.
-- Recomputes the dirty hours of one batch from events, as of the end of the
-- ledger span (after, position]. Every row replaces a whole window, so running
-- it again, or again later with a higher position, is always right.
-- The batch is the part of the dirty hours between two pairs (tenant, hour), and
-- lies in one month: the pairs stay on the engine, and the insert is into one
-- partition. The pairs meet the primary key of usage_raw, the bounds on time its
-- partitions, so the cost follows the batch and not the table. The setting lets
-- partitions be left out before FINAL: copies of an event have one time, so they
-- are never in two partitions.
-- seq <= position leaves out what a writer inserted and has not yet committed.
-- A combination whose sums are all zero is left out; an hour without any still
-- gets its row, which replaces the one before. arraySort makes the row a
-- function of the events alone.
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
    'hour',
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
            toStartOfHour(time) AS start,
            provider,
            model,
            department,
            cost_center,
            agent,
            sum(calls) AS s_calls,
            sumIf(calls, status = 'error') AS s_errors,
            sumIf(calls, isNull(cost)) AS s_unpriced,
            sum(calls * toInt64(latency_ms)) AS s_latency_ms,
            sum(input_tokens) AS s_input,
            sum(cache_read_tokens) AS s_cache_read,
            sum(cache_write_5m_tokens) AS s_cache_write_5m,
            sum(cache_write_1h_tokens) AS s_cache_write_1h,
            sum(output_tokens) AS s_output,
            sum(reasoning_tokens) AS s_reasoning,
            sum(audio_in_tokens) AS s_audio_in,
            sum(audio_out_tokens) AS s_audio_out,
            sum(image_tokens) AS s_image,
            sum(ifNull(cost, toDecimal128(0, 12))) AS s_cost
        FROM {database:Identifier}.usage_raw FINAL
        WHERE time >= fromUnixTimestamp64Milli({from_s:Int64} * 1000, 'UTC')
            AND time < fromUnixTimestamp64Milli({to_s:Int64} * 1000, 'UTC')
            AND seq <= {position:UInt64}
            AND (tenant, toStartOfHour(time)) IN
            (
                SELECT t, h
                FROM ledger
                ARRAY JOIN dirty_tenants AS t, dirty_hours AS h
                WHERE shard = {shard:UInt32}
                    AND from_seq > {after:UInt64}
                    AND from_seq <= {named_upto:UInt64}
                    AND (empty({elsewhere:Array(String)}) OR t NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
                    AND h >= toDateTime({from_s:Int64}, 'UTC')
                    AND h < toDateTime({to_s:Int64}, 'UTC')
                    AND (t, h) >= ({first_tenant:String}, toDateTime({first_s:Int64}, 'UTC'))
                    AND (t, h) <= ({last_tenant:String}, toDateTime({last_s:Int64}, 'UTC'))
            )
        GROUP BY tenant, start, provider, model, department, cost_center, agent
    )
    GROUP BY tenant, start
)
SETTINGS defer_partition_pruning_after_final = 0

-- A page of one tenant's events, newest first, within a span of time; the place
-- (time, seq, idx) of the last one read is where the next page begins. The
-- caller widens the span until the page is full, so that a look at the newest
-- events reads hours and not the tenant's whole history.
SELECT
    seq,
    idx,
    toUnixTimestamp64Milli(received_at) AS received_ms,
    toUnixTimestamp64Milli(time) AS time_ms,
    source,
    event_id,
    type,
    toInt64(calls) AS calls,
    provider,
    model,
    department,
    cost_center,
    agent,
    user,
    session,
    run,
    parent_run,
    status,
    error,
    toInt64(latency_ms) AS latency_ms,
    completeness,
    service_tier,
    flag,
    input_tokens,
    cache_read_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    audio_in_tokens,
    audio_out_tokens,
    image_tokens,
    toJSONString(mapSort(units)) AS units_json,
    toJSONString(mapSort(tags)) AS tags_json,
    corrects_source,
    corrects_id,
    cost,
    unpriced_reason,
    price_revision,
    reported_model
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND time <= fromUnixTimestamp64Milli({at_ms:Int64}, 'UTC')
    AND (toUnixTimestamp64Milli(time), seq, idx) < ({at_ms:Int64}, {at_seq:UInt64}, {at_idx:UInt16})
ORDER BY time DESC, seq DESC, idx DESC
LIMIT {limit:UInt32}
SETTINGS defer_partition_pruning_after_final = 0

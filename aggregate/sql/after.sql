-- A tenant's events in the order of the log, after a place in it: what a tail
-- shows next. The minmax index on seq skips the granules that lie before.
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
    AND seq >= {after_seq:UInt64}
    AND (seq, idx) > ({after_seq:UInt64}, {after_idx:UInt16})
ORDER BY seq, idx
LIMIT {limit:UInt32}

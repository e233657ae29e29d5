-- A page of a tenant's events in the order of the table, after a place in it: the
-- primary key leads to the page, so the cost of all pages follows the rows.
SELECT
    toInt64(toUnixTimestamp(toStartOfHour(time))) AS hour_s,
    source,
    event_id,
    type,
    time,
    received_at,
    seq,
    idx,
    calls,
    provider,
    model,
    reported_model,
    department,
    cost_center,
    agent,
    user,
    session,
    run,
    parent_run,
    status,
    error,
    latency_ms,
    completeness,
    service_tier,
    flag,
    units,
    tags,
    corrects_source,
    corrects_id,
    cost,
    unpriced_reason,
    price_revision,
    input_tokens,
    cache_read_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    audio_in_tokens,
    audio_out_tokens,
    image_tokens
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND toStartOfHour(time) >= toDateTime({after_hour:Int64}, 'UTC')
    AND (toInt64(toUnixTimestamp(toStartOfHour(time))), source, event_id) > ({after_hour:Int64}, {after_source:String}, {after_id:String})
    AND seq <= {position:UInt64}
ORDER BY tenant, toStartOfHour(time), source, event_id
LIMIT {limit:UInt32}

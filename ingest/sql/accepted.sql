-- The accepted rows of events of a tenant, for the voids that take them back. Their
-- places on the log lead to the granules that hold them. All copies of a row have one
-- place, so the index does not hide the row that FINAL keeps.
SELECT
    source,
    event_id,
    seq,
    idx,
    toUnixTimestamp64Milli(received_at) AS received_ms,
    toUnixTimestamp64Milli(time) AS time_ms,
    type,
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
    input_tokens,
    cache_read_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    audio_in_tokens,
    audio_out_tokens,
    image_tokens,
    units,
    tags,
    corrects_source,
    corrects_id,
    isNotNull(cost) AS priced,
    toString(ifNull(cost, toDecimal128(0, 12))) AS cost_text,
    unpriced_reason,
    price_revision
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND (source, event_id) IN (
        SELECT named.1, named.2
        FROM (SELECT arrayJoin(arrayZip({sources:Array(String)}, {ids:Array(String)})) AS named)
    )
    AND bitNot(rank) IN (SELECT arrayJoin({seqs:Array(UInt64)}))
    AND seq <= {up_to:UInt64}
SETTINGS use_skip_indexes = 1, use_skip_indexes_if_final = 1

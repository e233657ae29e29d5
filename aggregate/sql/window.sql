-- One window of one tenant from its rollup row, broken down by the dimensions
-- asked for; the others are blank, so they fall into one group. Reads one row, for
-- which one thread is faster than several.
SELECT
    if({by_provider:UInt8} = 1, by.provider, '') AS g_provider,
    if({by_model:UInt8} = 1, by.model, '') AS g_model,
    if({by_department:UInt8} = 1, by.department, '') AS g_department,
    if({by_cost_center:UInt8} = 1, by.cost_center, '') AS g_cost_center,
    if({by_agent:UInt8} = 1, by.agent, '') AS g_agent,
    sum(by.calls) AS g_calls,
    sum(by.errors) AS g_errors,
    sum(by.unpriced) AS g_unpriced,
    sum(by.latency_ms) AS g_latency_ms,
    sum(by.input_tokens) AS g_input,
    sum(by.cache_read_tokens) AS g_cache_read,
    sum(by.cache_write_5m_tokens) AS g_cache_write_5m,
    sum(by.cache_write_1h_tokens) AS g_cache_write_1h,
    sum(by.output_tokens) AS g_output,
    sum(by.reasoning_tokens) AS g_reasoning,
    sum(by.audio_in_tokens) AS g_audio_in,
    sum(by.audio_out_tokens) AS g_audio_out,
    sum(by.image_tokens) AS g_image,
    sum(by.cost) AS g_cost
FROM {database:Identifier}.rollup FINAL
ARRAY JOIN by
WHERE tenant = {tenant:String}
    AND grain = {grain:String}
    AND window = toDateTime({window_s:Int64}, 'UTC')
GROUP BY g_provider, g_model, g_department, g_cost_center, g_agent
SETTINGS max_threads = 1

-- One row per (tenant, window): its totals and, in arrays, its breakdown. A
-- window is replaced, never incremented: it is recomputed from usage_raw (hours)
-- or from the finer windows (days, months) as of ledger position gen and written
-- as a new row; FINAL reads the row with the highest gen.
--
-- Why the breakdown is inside the row: one row is inserted whole or not at all,
-- so a reader sees the old window or the new one and never a mixture, and older
-- generations disappear by merging. With head and detail rows apart, a merge or
-- a crash between the two can show a window half replaced.
CREATE TABLE IF NOT EXISTS rollup {{on_cluster}}
(
    tenant         LowCardinality(String),
    grain          Enum8('hour' = 1, 'day' = 2, 'month' = 3),
    window         DateTime('UTC'),
    gen            UInt64,
    computed_at    DateTime64(3, 'UTC'),
    calls          Int64,
    unpriced       Int64,
    tokens         Int64,
    cost           Decimal(38, 12),
    by Nested
    (
        provider              LowCardinality(String),
        model                 LowCardinality(String),
        department            LowCardinality(String),
        cost_center           LowCardinality(String),
        agent                 LowCardinality(String),
        calls                 Int64,
        errors                Int64,
        unpriced              Int64,
        latency_ms            Int64,
        input_tokens          Int64,
        cache_read_tokens     Int64,
        cache_write_5m_tokens Int64,
        cache_write_1h_tokens Int64,
        output_tokens         Int64,
        reasoning_tokens      Int64,
        audio_in_tokens       Int64,
        audio_out_tokens      Int64,
        image_tokens          Int64,
        cost                  Decimal(38, 12)
    )
)
ENGINE = {{engine "ReplacingMergeTree(gen)"}}
PARTITION BY toYYYYMM(window)
ORDER BY (tenant, grain, window)
SETTINGS
    index_granularity = 64,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0;

-- What every job did and how far it came. The position of a job is that of its
-- newest row with outcome "ok": a pass that crashed has no row and is repeated.
CREATE TABLE IF NOT EXISTS job_runs {{on_cluster}}
(
    job         LowCardinality(String),
    started_at  DateTime64(3, 'UTC'),
    finished_at DateTime64(3, 'UTC'),
    outcome     LowCardinality(String),
    position    UInt64,
    rows        UInt64,
    detail      String
)
ENGINE = {{engine "MergeTree"}}
ORDER BY (job, finished_at)
TTL toDateTime(finished_at) + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

-- Every accepted event, once, with its price. This is a projection of the log:
-- it can be thrown away and rebuilt.
--
-- Why ReplacingMergeTree: a crash between an insert and the ledger row makes the
-- writer repeat the range. The repeat writes exact copies; FINAL and merges
-- collapse them. rank is the bitwise complement of seq, so that of two rows with
-- one identity the earlier in the log would win, whatever was inserted last.
-- Why this order: all reads are of one tenant and some hours; the identity
-- (source, event_id) follows, so that copies are neighbours. Ids made in time
-- order compress to a few bytes here, where a hash of them would not.
-- Why the primary key is shorter than the order: two columns find the granule,
-- and the index stays small in memory.
-- model is the price book's canonical id where one was found, reported_model what
-- was sent if that is another word.
-- Why parts stay compact up to 1 GiB: an insert then syncs twenty files instead of
-- 170, one or two for each of fifty columns, and merges cost a third less.
-- Why maps have plain keys: a dictionary in a map doubles the cost of a merge.
-- The fsync settings make an insert's success mean that it is on disk; the
-- merge settings keep it there.
CREATE TABLE IF NOT EXISTS usage_raw {{on_cluster}}
(
    tenant                LowCardinality(String),
    time                  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    source                LowCardinality(String),
    event_id              String CODEC(ZSTD(3)),
    rank                  UInt64 CODEC(Delta, ZSTD(1)),
    idx                   UInt16 CODEC(Delta, ZSTD(1)),
    seq                   UInt64 ALIAS bitNot(rank),
    received_at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    type                  LowCardinality(String),
    calls                 Int8,
    provider              LowCardinality(String),
    model                 LowCardinality(String),
    reported_model        LowCardinality(String),
    department            LowCardinality(String),
    cost_center           LowCardinality(String),
    agent                 LowCardinality(String),
    user                  String CODEC(ZSTD(1)),
    session               String CODEC(ZSTD(1)),
    run                   String CODEC(ZSTD(1)),
    parent_run            String CODEC(ZSTD(1)),
    status                LowCardinality(String),
    error                 String CODEC(ZSTD(1)),
    latency_ms            UInt32 CODEC(T64, ZSTD(1)),
    completeness          LowCardinality(String),
    service_tier          LowCardinality(String),
    flag                  LowCardinality(String),
    input_tokens          Int64 CODEC(T64, ZSTD(1)),
    cache_read_tokens     Int64 CODEC(T64, ZSTD(1)),
    cache_write_5m_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens         Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens      Int64 CODEC(T64, ZSTD(1)),
    audio_in_tokens       Int64 CODEC(T64, ZSTD(1)),
    audio_out_tokens      Int64 CODEC(T64, ZSTD(1)),
    image_tokens          Int64 CODEC(T64, ZSTD(1)),
    units                 Map(String, Int64),
    tags                  Map(String, String),
    corrects_source       LowCardinality(String),
    corrects_id           String CODEC(ZSTD(1)),
    cost                  Nullable(Decimal(38, 12)) CODEC(ZSTD(1)),
    unpriced_reason       LowCardinality(String),
    price_revision        UInt32,
    INDEX seq_minmax bitNot(rank) TYPE minmax GRANULARITY 1
)
ENGINE = {{engine "ReplacingMergeTree(rank)"}}
PARTITION BY toYYYYMM(time)
PRIMARY KEY (tenant, toStartOfHour(time))
ORDER BY (tenant, toStartOfHour(time), source, event_id)
SETTINGS
    min_bytes_for_wide_part = 1073741824,
    min_rows_for_wide_part = 10000000,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

-- Events that came with an id that is taken, and other content. The first one
-- counts; this one is kept whole, so that a person can decide.
CREATE TABLE IF NOT EXISTS conflicts {{on_cluster}}
(
    tenant      LowCardinality(String),
    seq         UInt64,
    idx         UInt16,
    received_at DateTime64(3, 'UTC'),
    source      String,
    event_id    String,
    first_seq   UInt64,
    body        String CODEC(ZSTD(3))
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY (tenant, seq, idx)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0;

-- Messages and events that could not be read or judged, whole, with the reason.
-- A replay sends them through the front door again and writes a newer version of
-- the row with state "replayed"; the row itself stays.
CREATE TABLE IF NOT EXISTS quarantine {{on_cluster}}
(
    tenant      LowCardinality(String),
    seq         UInt64,
    idx         UInt16,
    received_at DateTime64(3, 'UTC'),
    subject     String,
    reason      LowCardinality(String),
    pointer     String,
    detail      String,
    body        String CODEC(ZSTD(3)),
    state       LowCardinality(String),
    version     UInt64
)
ENGINE = {{engine "ReplacingMergeTree(version)"}}
ORDER BY (tenant, seq, idx)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

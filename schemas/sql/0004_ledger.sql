-- One row per range of the log that has been written: the commit point. A range
-- without its row has not happened, whatever else is in the tables; a range with
-- its row is complete. Ranges of a shard follow each other without gap.
--
-- The sums and row_hash are what usage_raw must add up to for the range; verify
-- compares them. row_hash is the wrapping sum of xxh3 over each row's tenant,
-- source, id, place and cost.
-- dirty_tenants and dirty_hours name the windows the range touched, position by
-- position, so that rollups know what to recompute without a look at usage_raw.
-- epoch is the log's: a log that was made anew has another one, and the writer
-- stops rather than take its sequences for the old ones.
-- Why ReplacingMergeTree: a commit whose answer was lost is sent again, and is
-- then the same row, or one that reaches further; the longer one stands.
CREATE TABLE IF NOT EXISTS ledger {{on_cluster}}
(
    shard          UInt32,
    epoch          UInt64,
    from_seq       UInt64,
    to_seq         UInt64,
    messages       UInt64,
    events         UInt64,
    accepted       UInt64,
    duplicates     UInt64,
    conflicts      UInt64,
    quarantined    UInt64,
    calls          Int64,
    unpriced       UInt64,
    tokens         Int64,
    cost           Decimal(38, 12),
    row_hash       UInt64,
    price_revision UInt32,
    lease          UInt64,
    late           UInt64,
    committed_at   DateTime64(3, 'UTC'),
    dirty_tenants  Array(LowCardinality(String)),
    dirty_hours    Array(DateTime('UTC'))
)
ENGINE = {{engine "ReplacingMergeTree(to_seq)"}}
ORDER BY (shard, from_seq)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

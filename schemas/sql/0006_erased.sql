-- What was taken out of the log and the tables for ever, per erasure and committed
-- range, without a name: the ledger vouches for sums over all tenants, and goes on to.
-- What is stored plus what was erased is what the ledger says.
--
-- messages and events were on the log; where they lay is also kept by the log itself,
-- in bucket "erased", because a warehouse that is made anew needs it. The sums are of
-- the rows, and zero where rows stay (whole = 0, one end user): such a range cannot be
-- judged again.
-- keys are the places of identities that go, seqs those of messages; rows are the
-- places, seq * 65536 + idx, of rows whose names are emptied.
CREATE TABLE IF NOT EXISTS erased {{on_cluster}}
(
    shard       UInt32,
    from_seq    UInt64,
    erasure     String,
    tenant      LowCardinality(String),
    whole       UInt8,
    messages    UInt64,
    events      UInt64,
    accepted    UInt64,
    duplicates  UInt64,
    conflicts   UInt64,
    quarantined UInt64,
    calls       Int64,
    unpriced    UInt64,
    late        UInt64,
    tokens      Int64,
    cost        Decimal(38, 12),
    row_hash    UInt64,
    keys        Array(UInt64) CODEC(ZSTD(1)),
    seqs        Array(UInt64) CODEC(ZSTD(1)),
    rows        Array(UInt64) CODEC(ZSTD(1))
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY (shard, from_seq, erasure)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0;

-- One row per erasure whose ranges are all in the table above. This row is what makes
-- them count, all at once: from here on nothing of the erasure is looked at, whether
-- it is gone yet or not (state 1), and when all is gone the state is 2.
CREATE TABLE IF NOT EXISTS erasures {{on_cluster}}
(
    erasure  String,
    shard    UInt32,
    tenant   LowCardinality(String),
    whole    UInt8,
    position UInt64,
    state    UInt8,
    at       DateTime64(3, 'UTC')
)
ENGINE = {{engine "ReplacingMergeTree(state)"}}
ORDER BY erasure
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

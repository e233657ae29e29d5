-- The identity of every accepted event, for as long as data is kept: there is no
-- deduplication window.
--
-- key is the first 16 bytes of SHA-256 over the length-prefixed (tenant, source,
-- id); content the first 8 bytes of SHA-256 over everything else. A known key
-- with the same content is a duplicate, with other content a conflict.
-- Why the hash alone is the order, without the tenant before it: a point lookup
-- then reads one small granule; a composite key was four times slower. Why a
-- granule of 256 rows: a lookup reads 256 keys, not 8,192.
-- Not partitioned by time: the same id with another time is the same event.
-- void keys live here too: the hash of ("void", tenant, source, id) is claimed by
-- the one void an event can have.
CREATE TABLE IF NOT EXISTS usage_keys {{on_cluster}}
(
    key     FixedString(16) CODEC(NONE),
    content UInt64 CODEC(NONE),
    seq     UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY key
SETTINGS
    index_granularity = 256,
    min_bytes_for_wide_part = 1073741824,
    min_rows_for_wide_part = 10000000,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    non_replicated_deduplication_window = 0

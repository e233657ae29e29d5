-- Copies a tenant's rows of a span of the log. Rows that are there already collapse
-- with their copies. A span of the log may hold events of any number of months. All
-- copies of a row have one place on the log, so the index does not hide the row that
-- FINAL keeps.
INSERT INTO {target:Identifier}.usage_raw
SELECT *
FROM {source:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND seq > {after:UInt64}
    AND seq <= {upto:UInt64}
SETTINGS
    max_partitions_per_insert_block = 0,
    use_skip_indexes = 1,
    use_skip_indexes_if_final = 1

-- Copies a tenant's windows that were made as of a position or later.
INSERT INTO {target:Identifier}.rollup
SELECT *
FROM {source:Identifier}.rollup FINAL
WHERE tenant = {tenant:String}
    AND gen >= {from_gen:UInt64}
SETTINGS max_partitions_per_insert_block = 0

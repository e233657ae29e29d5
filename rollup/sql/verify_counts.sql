-- all tenants: verify holds everything against everything.
-- The rows of usage_raw up to a position: as they lie there, and as they count.
-- The difference is copies of repeated ranges that merges have not yet collapsed.
SELECT
    (
        SELECT count()
        FROM {database:Identifier}.usage_raw
        WHERE seq <= {upto:UInt64}
            AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
    ) AS rows_stored,
    count() AS rows_counted,
    countIf(type = 'void') AS voids,
    (
        SELECT count()
        FROM {database:Identifier}.usage_raw
        WHERE seq > {upto:UInt64}
            AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))
    ) AS rows_uncommitted
FROM {database:Identifier}.usage_raw FINAL
WHERE seq <= {upto:UInt64}
    AND (empty({elsewhere:Array(String)}) OR tenant NOT IN (SELECT arrayJoin({elsewhere:Array(String)})))

-- all tenants: it looks for rows of anybody in a place that is not theirs.
-- Those of some tenants that have rows or windows in the shared database.
SELECT DISTINCT tenant
FROM
(
    SELECT DISTINCT tenant
    FROM {database:Identifier}.usage_raw
    WHERE tenant IN (SELECT arrayJoin({tenants:Array(String)}))
    UNION ALL
    SELECT DISTINCT tenant
    FROM {database:Identifier}.rollup
    WHERE tenant IN (SELECT arrayJoin({tenants:Array(String)}))
)
ORDER BY tenant

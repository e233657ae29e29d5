-- Parts that the engine took out of its tables because they cannot be read. They
-- lie on the disk for a person to look at; what was in them is missing.
SELECT
    database,
    table,
    name,
    reason
FROM system.detached_parts
WHERE database IN (SELECT arrayJoin({databases:Array(String)}))
    AND startsWith(reason, 'broken')
ORDER BY database, table, name

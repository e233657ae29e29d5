-- Parts that the engine took out of its tables because they cannot be read. They
-- lie on the disk for a person to look at; what was in them is missing.
SELECT
    table,
    name,
    reason
FROM system.detached_parts
WHERE database = currentDatabase()
    AND startsWith(reason, 'broken')
ORDER BY table, name

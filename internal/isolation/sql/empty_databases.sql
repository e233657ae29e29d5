-- The databases beside the shared one that have our tables with nothing in them: of
-- tenants that were erased, or whose move was given up.
SELECT database
FROM system.tables
WHERE startsWith(database, {prefix:String})
    AND name IN ('usage_raw', 'rollup', 'schema_migrations')
GROUP BY database
HAVING count() = 3 AND sumIf(total_rows, name != 'schema_migrations') = 0
ORDER BY database

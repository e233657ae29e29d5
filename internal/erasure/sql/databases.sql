-- Which of some databases have tables of content.
SELECT DISTINCT database
FROM system.tables
WHERE database IN (SELECT arrayJoin({databases:Array(String)}))
    AND name = 'usage_raw'
ORDER BY database

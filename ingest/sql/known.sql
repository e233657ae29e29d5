-- Which of these keys are stored, with content and place. The table is ordered by
-- the key, so each costs one granule of 256 rows. A key beyond the ledger's
-- position belongs to a range that was not committed: it is not known.
SELECT
    hex(key) AS key_hex,
    any(content) AS content,
    min(seq) AS first_seq
FROM usage_keys
WHERE key IN (SELECT CAST(unhex(arrayJoin({keys:Array(String)})), 'FixedString(16)'))
    AND seq <= {up_to:UInt64}
GROUP BY key

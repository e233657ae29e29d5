-- all tenants: an erasure that begins or ends changes what every check sees.
-- The erasures that count, and how far they are: while a check runs, none may begin to.
SELECT
    erasure,
    state
FROM erasures FINAL
WHERE shard = {shard:UInt32}
ORDER BY erasure

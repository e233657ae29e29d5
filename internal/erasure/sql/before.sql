-- all tenants: beside the one tenant it reads which erasures are valid, by their ids.
-- How many events earlier erasures took from the log, of users of a tenant, per range.
SELECT
    from_seq,
    sum(e.events) AS events_sum
FROM erased AS e FINAL
WHERE shard = {shard:UInt32}
    AND tenant = {tenant:String}
    AND erasure IN (SELECT erasure FROM erasures FINAL)
GROUP BY from_seq
ORDER BY from_seq

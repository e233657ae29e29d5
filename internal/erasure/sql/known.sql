-- Whether the warehouse knows of an erasure.
SELECT count() > 0 AS is_known
FROM erasures
WHERE tenant = {tenant:String}
    AND erasure = {erasure:String}

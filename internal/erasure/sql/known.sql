-- all tenants: a start goes on with every erasure that is not done.
-- Whether the warehouse knows of an erasure.
SELECT count() > 0 AS is_known
FROM erasures
WHERE erasure = {erasure:String}

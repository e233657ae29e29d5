-- all tenants: it asks for one erasure by its id, which is of one tenant.
-- Whether the warehouse knows of an erasure.
SELECT count() > 0 AS is_known
FROM erasures
WHERE erasure = {erasure:String}

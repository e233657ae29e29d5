-- all tenants: it counts by erasure, which is of one tenant.
-- How many identities of an erasure are stored.
SELECT count() AS keys_count
FROM usage_keys FINAL
WHERE seq IN (SELECT arrayJoin(keys) FROM erased WHERE erasure = {erasure:String})

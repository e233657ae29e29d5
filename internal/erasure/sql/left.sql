-- What the tables hold of a tenant, whether it counts or not.
SELECT
    (SELECT count() FROM usage_raw WHERE tenant = {tenant:String}) AS usage_raw,
    (SELECT count() FROM conflicts WHERE tenant = {tenant:String}) AS conflicts,
    (SELECT count() FROM quarantine WHERE tenant = {tenant:String}) AS quarantine,
    (SELECT count() FROM rollup WHERE tenant = {tenant:String}) AS windows

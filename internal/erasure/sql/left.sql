-- What the shared tables hold of a tenant, whether it counts or not.
SELECT
    (SELECT count() FROM conflicts WHERE tenant = {tenant:String}) AS conflicts,
    (SELECT count() FROM quarantine WHERE tenant = {tenant:String}) AS quarantine

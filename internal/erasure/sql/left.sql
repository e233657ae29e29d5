-- What the tables that every tenant shares hold of one, whether it counts or not.
SELECT
    (SELECT count() FROM conflicts WHERE tenant = {tenant:String}) AS conflicts,
    (SELECT count() FROM quarantine WHERE tenant = {tenant:String}) AS quarantine

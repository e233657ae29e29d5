-- What one database holds of a tenant's rows and windows, whether it counts or not.
SELECT
    (SELECT count() FROM {database:Identifier}.usage_raw WHERE tenant = {tenant:String}) AS usage_raw,
    (SELECT count() FROM {database:Identifier}.rollup WHERE tenant = {tenant:String}) AS windows

-- As of which position of the ledger the newest of a tenant's windows was made.
SELECT max(gen) AS newest
FROM {database:Identifier}.rollup
WHERE tenant = {tenant:String}

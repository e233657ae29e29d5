-- Takes a tenant's windows out of the shared database; see the statement for rows.
ALTER TABLE {database:Identifier}.rollup
DELETE WHERE tenant = {tenant:String}

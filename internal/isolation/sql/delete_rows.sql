-- Takes a tenant's rows out of the shared database, where they do not count any more.
-- The statement rewrites the parts that hold some, each whole or not at all, and is
-- answered when that is done; a copy of a row has the same tenant, so none comes back.
ALTER TABLE {database:Identifier}.usage_raw
DELETE WHERE tenant = {tenant:String}

-- The databases whose names begin with that of the shared one: the tenants' own.
SELECT name
FROM system.databases
WHERE startsWith(name, {prefix:String})
ORDER BY name

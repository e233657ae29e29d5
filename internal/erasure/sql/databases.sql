-- The databases that may hold rows of a tenant: the shared one, and its own if there is
-- one, in force or not.
SELECT name
FROM system.databases
WHERE name IN ({shared:String}, {own:String})
ORDER BY name

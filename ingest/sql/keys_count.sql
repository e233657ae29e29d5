-- How many keys are stored, copies of crashed ranges included: the size a filter
-- should begin with. Read from part metadata, not from the data.
SELECT count() AS rows
FROM usage_keys

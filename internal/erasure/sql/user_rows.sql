-- The places of a user's rows, as seq * 65536 + idx.
SELECT DISTINCT bitShiftLeft(seq, 16) + idx AS place
FROM {database:Identifier}.usage_raw
WHERE tenant = {tenant:String}
    AND user = {user:String}
    AND seq <= {upto:UInt64}
ORDER BY place

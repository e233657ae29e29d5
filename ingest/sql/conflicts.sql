-- all tenants: a key of the platform may list everybody's; a tenant's key always names itself.
-- Events that came with a taken id and other content, newest first, after a place
-- in that order.
SELECT
    tenant,
    seq,
    idx,
    toUnixTimestamp64Milli(received_at) AS received_ms,
    source,
    event_id,
    first_seq,
    body
FROM conflicts FINAL
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
    AND (seq, idx) < ({before_seq:UInt64}, {before_idx:UInt16})
ORDER BY seq DESC, idx DESC
LIMIT {limit:UInt32}

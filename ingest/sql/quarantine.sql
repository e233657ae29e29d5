-- all tenants: a key of the platform may list everybody's; a tenant's key always names itself.
-- Quarantined messages and events, newest first, after a place in that order.
SELECT
    tenant,
    seq,
    idx,
    toUnixTimestamp64Milli(received_at) AS received_ms,
    subject,
    reason,
    pointer,
    detail,
    body,
    state,
    version
FROM quarantine FINAL
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
    AND ({state:String} = '' OR state = {state:String})
    AND (seq, idx) < ({before_seq:UInt64}, {before_idx:UInt16})
ORDER BY seq DESC, idx DESC
LIMIT {limit:UInt32}

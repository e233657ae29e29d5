-- all tenants: a key of the platform may replay anybody's; a tenant's key always names itself.
-- One quarantined message or event by its place in the log.
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
WHERE seq = {seq:UInt64} AND idx = {idx:UInt16}
    AND ({tenant:String} = '' OR tenant = {tenant:String})

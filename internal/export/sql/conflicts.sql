-- A page of a tenant's conflicts in the order of the log.
SELECT
    seq,
    idx,
    received_at,
    body,
    source,
    event_id,
    first_seq
FROM conflicts FINAL
WHERE tenant = {tenant:String}
    AND (seq, idx) > ({after_seq:UInt64}, {after_idx:UInt16})
    AND seq <= {position:UInt64}
ORDER BY tenant, seq, idx
LIMIT {limit:UInt32}

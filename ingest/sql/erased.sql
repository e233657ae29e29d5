-- all tenants: a range holds messages of all of them.
-- What was erased of a committed range, per tenant: of one that is erased as a whole,
-- with all that the ledger still counts for it; of one of whose users messages were
-- erased, only what the log lost.
SELECT
    tenant,
    max(e.whole) AS is_whole,
    sum(e.messages) AS messages_sum,
    sum(e.events) AS events_sum,
    sum(e.accepted) AS accepted_sum,
    sum(e.duplicates) AS duplicates_sum,
    sum(e.conflicts) AS conflicts_sum,
    sum(e.quarantined) AS quarantined_sum,
    sum(e.calls) AS calls_sum,
    sum(e.unpriced) AS unpriced_sum,
    sum(e.late) AS late_sum,
    sum(e.tokens) AS tokens_sum,
    sum(e.cost) AS cost_sum,
    sum(e.row_hash) AS hash_sum
FROM erased AS e FINAL
WHERE shard = {shard:UInt32}
    AND from_seq = {from:UInt64}
    AND erasure IN (SELECT erasure FROM erasures FINAL)
GROUP BY tenant
ORDER BY tenant

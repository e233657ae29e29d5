-- all tenants: the ledger vouches for sums over all of them.
-- What was erased from the log, per range; and, while that goes on, at which positions
-- nothing is looked at any more, whether it is gone yet or not.
SELECT
    from_seq,
    sum(e.messages) AS messages_sum,
    sum(e.events) AS events_sum,
    arraySort(groupArrayArray(if(erasure IN (SELECT erasure FROM erasures FINAL WHERE state = 1), e.seqs, []))) AS under_way
FROM erased AS e FINAL
WHERE shard = {shard:UInt32}
    AND from_seq >= {from:UInt64}
    AND from_seq <= {upto:UInt64}
    AND erasure IN (SELECT erasure FROM erasures FINAL)
GROUP BY from_seq
ORDER BY from_seq

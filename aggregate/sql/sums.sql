-- all tenants: sums of the whole platform, for its operators; the route is theirs alone.
-- What the whole ledger adds up to: calls, tokens and cost of every committed
-- range, with a row count that keeps "nothing yet" apart from a lost answer.
SELECT
    count() AS rows,
    sum(l.calls) AS calls,
    sum(l.tokens) AS tokens,
    toString(sum(l.cost)) AS cost_text
FROM ledger AS l FINAL

-- all tenants: it reads places in the log, which all tenants share.
-- How far is counted, and how far rolled up.
SELECT
    (SELECT max(to_seq) FROM ledger WHERE shard = {shard:UInt32}) AS counted,
    (SELECT max(position) FROM job_runs WHERE job = 'rollup' AND outcome = 'ok') AS rolled_up

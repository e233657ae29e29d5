-- The newest run of every job, so that a node that has just started can show
-- what ran before it.
SELECT
    job,
    toUnixTimestamp64Milli(max(started_at)) AS started_ms,
    toUnixTimestamp64Milli(max(finished_at)) AS finished_ms,
    argMax(outcome, finished_at) AS last_outcome,
    argMax(detail, finished_at) AS last_detail
FROM job_runs
GROUP BY job
ORDER BY job

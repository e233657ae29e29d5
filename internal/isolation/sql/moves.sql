-- The newest step of every move, of one tenant or of all: outcome says how far it is,
-- detail the database it goes to, position up to where rows were copied.
SELECT
    substring(job, 6) AS tenant,
    argMax(outcome, finished_at) AS step,
    argMax(detail, finished_at) AS target,
    argMax(position, finished_at) AS copied,
    toUnixTimestamp64Milli(max(finished_at)) AS at_ms
FROM job_runs
WHERE startsWith(job, 'move-')
    AND ({tenant:String} = '' OR job = concat('move-', {tenant:String}))
GROUP BY job
ORDER BY job

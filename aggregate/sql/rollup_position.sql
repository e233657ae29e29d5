-- How far the rollups have come: the highest position among the newest passes that
-- ended well. The newest may be that of a slower worker, which began earlier.
SELECT
    max(position) AS reached,
    toUnixTimestamp64Milli(max(finished_at)) AS finished_ms
FROM
(
    SELECT position, finished_at
    FROM job_runs
    WHERE job = {job:String} AND outcome = 'ok'
    ORDER BY job DESC, finished_at DESC
    LIMIT 100
)
HAVING count() > 0

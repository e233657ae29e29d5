-- How far a job has come, and when its newest run that ended well ended, so that
-- the next run is recorded as newer than it. The position is the highest among the
-- newest runs, not that of the newest: of two workers, one that began earlier may
-- end later, and its lower position takes nothing back.
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

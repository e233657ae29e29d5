-- How far a job has come: the position of its newest run that ended well, and
-- when that run ended, so that the next run is recorded as newer than it.
SELECT
    position,
    toUnixTimestamp64Milli(finished_at) AS finished_ms
FROM job_runs
WHERE job = {job:String} AND outcome = 'ok'
ORDER BY job DESC, finished_at DESC, position DESC
LIMIT 1

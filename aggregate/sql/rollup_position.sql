-- How far the rollups have come: the position of the newest pass that ended
-- well.
SELECT
    position,
    toUnixTimestamp64Milli(finished_at) AS finished_ms
FROM job_runs
WHERE job = {job:String} AND outcome = 'ok'
ORDER BY job DESC, finished_at DESC, position DESC
LIMIT 1

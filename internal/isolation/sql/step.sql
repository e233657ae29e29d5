-- Writes down how far a move has come.
INSERT INTO job_runs (job, started_at, finished_at, outcome, position, rows, detail)
SELECT
    concat('move-', {tenant:String}),
    fromUnixTimestamp64Milli({started_ms:Int64}, 'UTC'),
    fromUnixTimestamp64Milli({at_ms:Int64}, 'UTC'),
    {step:String},
    {copied:UInt64},
    {rows:UInt64},
    {target:String}

-- Records a run of a job. For rollups this row is the commit point of a pass.
INSERT INTO job_runs (job, started_at, finished_at, outcome, position, rows, detail)
SELECT
    {job:String},
    fromUnixTimestamp64Milli({started_ms:Int64}, 'UTC'),
    fromUnixTimestamp64Milli({finished_ms:Int64}, 'UTC'),
    {outcome:String},
    {position:UInt64},
    {rows:UInt64},
    {detail:String}

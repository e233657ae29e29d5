-- Where the accepted events of these ids came in: which message brought each.
SELECT
    event_id,
    seq
FROM {database:Identifier}.usage_raw FINAL
WHERE tenant = {tenant:String}
    AND source = {source:String}
    AND event_id IN (SELECT arrayJoin({ids:Array(String)}))

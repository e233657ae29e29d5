-- A month of a tenant as the rollups have it, and as of which position.
SELECT gen, tokens, cost
FROM {database:Identifier}.rollup FINAL
WHERE tenant = {tenant:String}
    AND grain = 'month'
    AND window = toDateTime({month_s:Int64}, 'UTC')

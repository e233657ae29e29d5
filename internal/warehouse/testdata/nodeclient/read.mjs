// Reads from the engine's reading door with ClickHouse's own client for Node and
// prints what it found as one line of JSON. The test compares it.
import { createClient } from '@clickhouse/client'

const client = createClient({
  url: process.env.ENGINE_URL,
  password: process.env.ENGINE_TOKEN,
  database: 'panda',
  compression: { response: true },
})
const json = async (query, query_params = {}) =>
  (await client.query({ query, query_params, format: 'JSONEachRow' })).json()

// failure runs f and returns the code of the exception that it must throw.
const failure = async (f) => {
  try {
    await f()
  } catch (e) {
    return e.code ?? String(e)
  }
  return 'no error'
}

const found = {}
found.ping = (await client.ping()).success
found.rows = await json('SELECT a, s FROM t ORDER BY a')
found.params = await json('SELECT a FROM t WHERE s = {s:String} AND has({list:Array(String)}, s)', {
  s: "it's; -- {s}",
  list: ["it's; -- {s}", 'tab\t'],
})
found.settings = (await (await client.query({
  query: "SELECT toUInt32(getSetting('max_block_size')) AS n",
  format: 'JSON',
  clickhouse_settings: { max_block_size: '77' },
})).json()).data

found.streamed = 0
const stream = (await client.query({
  query: 'SELECT number FROM system.numbers LIMIT 500000',
  format: 'JSONEachRow',
})).stream()
for await (const rows of stream) found.streamed += rows.length

found.failedStream = await failure(async () => {
  const set = await client.query({
    query: 'SELECT number, throwIf(number = 400000) FROM system.numbers LIMIT 500000',
    format: 'JSONEachRow',
  })
  for await (const rows of set.stream()) void rows
})
found.insert = await failure(() => client.insert({ table: 't', values: [{ a: 9, s: 'x' }], format: 'JSONEachRow' }))
found.command = await failure(() => client.command({ query: 'DROP TABLE t' }))
found.file = await failure(() => json("SELECT * FROM file('/etc/hostname')"))
await client.close()

const stranger = createClient({ url: process.env.ENGINE_URL, password: 'a guess', database: 'panda' })
found.stranger = await failure(() => stranger.query({ query: 'SELECT 1', format: 'JSON' }))
await stranger.close()
console.log(JSON.stringify(found))

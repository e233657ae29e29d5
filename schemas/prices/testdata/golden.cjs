// Prints what genai-prices' own calculator answers for every model and name it knows, as CSV: provider, name asked for,
// size of the call, model found, USD. Usage: node golden.cjs path/to/index.cjs path/to/genai-prices.json
const { calcPrice } = require(require("path").resolve(process.argv[2]));
const providers = JSON.parse(require("fs").readFileSync(process.argv[3]));
const timestamp = new Date("2026-09-01T20:00:00Z"); // outside every provider's peak hours
const sizes = {
  small: { input_tokens: 18234, cache_read_tokens: 15000, cache_write_tokens: 1200, output_tokens: 1022 },
  large: { input_tokens: 300001, cache_read_tokens: 1003, cache_write_tokens: 1009, output_tokens: 1013 },
};
const names = (m) => {
  const own = [];
  if (m.equals) own.push(m.equals);
  if (m.starts_with) own.push(m.starts_with, m.starts_with + "-20260101");
  if (m.contains) own.push(m.contains, "us." + m.contains + "-v1:0");
  for (const part of m.or || m.and || []) own.push(...names(part));
  return own;
};
const seen = new Set();
for (const p of providers)
  for (const m of p.models)
    for (const ref of [m.id, ...names(m.match)])
      for (const size of ref === m.id ? ["small", "large"] : ["small"]) {
        const key = [p.id, ref.toLowerCase(), size].join(",");
        if (seen.has(key) || /[,"]/.test(ref)) continue;
        seen.add(key);
        let r = null;
        try {
          r = calcPrice(sizes[size], ref, { providerId: p.id, timestamp });
        } catch (e) {
          continue; // a price it cannot apply to this usage
        }
        if (!r) continue;
        process.stdout.write(`${key},${r.model.id},${r.total_price.toFixed(15)}\n`);
      }

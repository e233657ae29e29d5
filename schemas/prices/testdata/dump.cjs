// Prints the price data inlined in @pydantic/genai-prices' dist/index.cjs as JSON, one model a line, without what
// prices do not need (descriptions, usage extractors). Usage: node dump.cjs path/to/index.cjs
const bundle = require("fs").readFileSync(process.argv[2], "utf8");
const name = /const ([A-Za-z_$]+)=\[\{id:"/.exec(bundle)[1];
const scope = { exports: {} };
new Function("exports", "module", `${bundle};module.exports=${name};`)({}, scope);
const out = scope.exports.map(({ id, name, provider_match, model_match, fallback_model_providers, models }) => {
  const head = JSON.stringify({ id, name, provider_match, model_match, fallback_model_providers }).slice(0, -1);
  const rows = models.map(({ id, name, match, prices }) => JSON.stringify({ id, name, match, prices }));
  return `${head},"models":[\n${rows.join(",\n")}\n]}`;
});
process.stdout.write(`[${out.join(",\n")}]\n`);

// Package prices brings list prices into Panda's price book: the catalog that
// ships with the binary, importers for the price files operators already own,
// and the merge that turns an import into the next revision.
//
// Promise: no price is invented and none is bent. Decimals are read as text and
// never pass through a float; what does not fit a whole pico-USD per token is
// rounded once, half-even, and the [Report] names it. What a source says and
// Panda cannot express is left out, and the report names that too. The same
// file gives the same rows in the same order, and importing it twice changes
// nothing.
//
// # Where the catalog comes from
//
// catalog.json holds facts, list prices with their dates and the names of
// models, in Panda's own format (that of [schemas.PriceRevision]). They were
// converted from the data of the package @pydantic/genai-prices 0.1.8 of
// 2026-09-23 (https://github.com/pydantic/genai-prices), published under the
// MIT License, Copyright (c) Pydantic Services Inc. 2025 to present; see
// LICENSE-genai-prices. Service tiers, which that source does not have, and a
// few more names of providers come from extras.json, each with its own source.
// The two are joined by [ParseGenAIPrices]; a test holds the catalog equal to
// its sources.
//
// To make it anew from a newer version of the package:
//
//	npm pack @pydantic/genai-prices@0.1.8
//	tar -xzf pydantic-genai-prices-0.1.8.tgz
//	node schemas/prices/testdata/dump.cjs package/dist/index.cjs | gzip -9n >schemas/prices/testdata/genai-prices.json.gz
//	gunzip -k schemas/prices/testdata/genai-prices.json.gz
//	node schemas/prices/testdata/golden.cjs package/dist/index.cjs schemas/prices/testdata/genai-prices.json |
//	  gzip -9n >schemas/prices/testdata/genai-golden.csv.gz
//	rm schemas/prices/testdata/genai-prices.json
//	go test ./schemas/prices -run TestCatalogIsItsSources -rewrite
//
// The second file holds what the package's own calculator answers; a test
// compares it with the price book.
// Read the diff before committing it: a price that moved backwards in time is
// an error of the source more often than a fact.
// An installation that runs takes the same file with
// `panda prices import --format genai-prices FILE`.
//
// # Failure story
//
// A file that is not what its format says is refused whole, with the place in
// it; nothing is imported. A single model that cannot be read or priced is
// skipped and reported, its neighbours are imported. Importers bound what they
// read; a larger file is refused. Nothing here touches a disk or a clock: a
// crash leaves nothing behind, because an import exists only once the revision
// that [Merge] returns is on the log.
package prices

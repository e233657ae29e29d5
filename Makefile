# Panda. `make demo` and `make test` need Go, npm and make, and nothing else.
SHELL := /bin/sh
GO ?= go
BIN := bin
LINT_VERSION := v2.15.0
OAPI_CODEGEN := github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2

.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: engine build ## a month of believable usage of four tenants through the real doors, and what it cost
	@$(BIN)/panda demo

test: engine ## every test, on a real NATS and a real ClickHouse engine
	$(GO) test -timeout 40m ./...

check: ## formatting, vet and linters
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'check: run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags failpoint ./...
	@test -x $(BIN)/golangci-lint-$(LINT_VERSION) || { mkdir -p $(BIN) && GOBIN=$(CURDIR)/$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) && mv $(BIN)/golangci-lint $(BIN)/golangci-lint-$(LINT_VERSION); }
	$(BIN)/golangci-lint-$(LINT_VERSION) run ./...
	$(BIN)/golangci-lint-$(LINT_VERSION) run --build-tags failpoint ./internal/failpoint/... ./internal/torture/... ./cmd/torture/... ./ingest/...
	@dir=$$(mktemp -d) && sed "s|^output:.*|output: $$dir/client.gen.go|" schemas/apiclient/generate.yaml > $$dir/generate.yaml && \
		$(GO) run $(OAPI_CODEGEN) -config $$dir/generate.yaml schemas/openapi.yaml && \
		cmp $$dir/client.gen.go schemas/apiclient/client.gen.go || { echo 'check: the API client is stale: run make generate'; exit 1; }
	$(GO) mod verify

race: engine ## the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (default 30s)
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
			echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

bench: engine build ## the numbers of BENCH.md, as ratios against limits measured in the same run
	@$(BIN)/panda bench --write BENCH.md

MINUTES ?= 10
SEED ?= 0
torture: engine ## faults against real processes for about MINUTES (default 10, one round of each at least) from SEED (default: the clock), and TORTURE.md
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -tags failpoint -buildvcs=auto -trimpath -o $(BIN)/panda-torture ./cmd/panda
	@CGO_ENABLED=0 $(GO) build -tags failpoint -buildvcs=auto -trimpath -o $(BIN)/torture ./cmd/torture
	@$(BIN)/torture --minutes $(MINUTES) --seed $(SEED) --write TORTURE.md

torture-stripe: ## 400 months pushed to a Stripe that goes wrong in every way it knows, and two simpler schemes beside
	@CGO_ENABLED=0 $(GO) test ./rollup/stripe -count=1 -v -run 'TestStorm$$' -stripe.seeds 400

stripe-oracle: ## every request that goes to Stripe, judged by Stripe's own description of its API
	cd internal/stripefake/oracle && CGO_ENABLED=0 $(GO) test -count=1 ./...

engine: ## fetch the ClickHouse engine library into the user cache, unless it is there
	@./deploy/fetch-engine.sh

build: ## build bin/panda
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath -o $(BIN)/panda ./cmd/panda

generate: ## make the API client anew from schemas/openapi.yaml
	$(GO) run $(OAPI_CODEGEN) -config schemas/apiclient/generate.yaml schemas/openapi.yaml
	@(cd schemas && sha256sum openapi.yaml apiclient/generate.yaml apiclient/overlay.yaml apiclient/client.gen.go) > schemas/apiclient/generated.sha256

golden: engine ## refresh the expectations in testdata (read the diff before you commit it)
	@for dir in $$(grep -rl --include='*_test.go' '"rewrite"' . | xargs -n1 dirname | sort -u); do \
		$(GO) test $$dir -rewrite || exit 1; \
	done

verify: engine build ## prove log = ledger = raw = rollup for the demo's data
	@$(BIN)/panda verify --data "$${PANDA_DATA:-$${XDG_CACHE_HOME:-$$HOME/.cache}/panda/demo}"

clean: ## remove bin/
	rm -rf $(BIN)

.PHONY: help demo test check race fuzz bench torture torture-stripe stripe-oracle engine build generate golden verify clean

# On a fresh machine with Go alone:
#   make run    the registry on its embedded store
#   make demo   a registry with a fleet to look at
#   make test   the whole test suite with the race detector

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := bin/rollcall

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help run demo build test lint e2e compat bench microbench fuzz generate clean

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: build ## start the registry on ./rollcall-data
	@exec ./$(BIN) serve

demo: build ## show a registry with a fleet that comes, goes, slows down and crashes
	@exec ./$(BIN) demo

build: ## build bin/rollcall
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/rollcall

test: ## run all tests with the race detector
	$(GO) test -race -timeout 15m ./...
	$(GO) test -run 'Allocat|ForADay|WatchMemory|TestLaw|FairAnswers|Included' ./client/... ./internal/dnsapi/... ./internal/filter ./internal/grpcapi ./internal/httpapi # what -race has no room for
	cd bench && $(GO) test ./...

lint: ## check form: gofmt, vet, staticcheck, modules, known vulnerabilities
	@fmt="$$(gofmt -l .)"; if [ -n "$$fmt" ]; then echo "not formatted; run gofmt -w:"; echo "$$fmt"; exit 1; fi
	$(GO) vet ./... && $(GO) vet -tags e2e ./test/...
	$(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) -tags e2e ./...
	cd api/rollcall/v1 && $(GO) run ../../../internal/generate -verify rollcall.proto
	cd bench && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run $(STATICCHECK) ./...
	@./.ci/vulnerabilities $(GO) run $(GOVULNCHECK) ./...

e2e: build ## drive real processes: crashes, cut networks, full disks, the README's tour
	$(GO) test -tags e2e -count 1 -timeout 25m -parallel 16 ./test/e2e $(E2EFLAGS)

compat: build ## drive the registry with clients that others wrote
	$(GO) test -tags e2e -count 1 -timeout 15m -parallel 8 ./test/compat

bench: build ## measure against targets, limits and peers; see bench/README.md
	cd bench && $(GO) run . $(BENCHFLAGS)

microbench: ## run the benchmarks beside the code
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## fuzz every decoder for a minute each
	./.ci/fuzz 60s

generate: ## make Go code of the protobuf files
	$(GO) generate ./api/...

clean: ## remove what was built; the data directory stays
	rm -rf bin

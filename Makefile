# dmcopy. "make" lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

export CGO_ENABLED := 0

# The revision comes from git where git is willing to tell; the go command would fail where it is not.
revision := $(shell git describe --tags --always --dirty 2>/dev/null)
ifeq ($(revision),)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

# Packages whose tests boot a guest: package vm and whatever imports it in its tests.
vm_packages = $$(go list -f '{{.ImportPath}} {{join .TestImports " "}}' ./... | grep -E '/test/vm( |$$)' | cut -d' ' -f1)
# Those that go through every kind of layer take half an hour together.
long_packages = /test/integration/(changes|fabrics|files|foreign|freeze|inuse|layercopies|nice|odx|resolver|scsi|throttle|zoned)$$
other_packages = $$(go list -f '{{.ImportPath}} {{join .TestImports " "}}' ./... | grep -vE '/test/vm( |$$)' | cut -d' ' -f1)
# Of the others, those with random trials, whose number is a flag.
imports_of_tests = go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' $(other_packages)
random_packages = $$($(imports_of_tests) | grep -E ' pgregory.net/rapid( |$$)' | cut -d' ' -f1)
# Tests of the sources alone are left out: they run nothing of the program.
steady_packages = $$($(imports_of_tests) | grep -vE ' pgregory.net/rapid( |$$)|/test/(lint|mutants) ' | cut -d' ' -f1)

# Parameters of targets
TRIALS ?= 2000
SEED ?= 0
FUZZTIME ?= 60s
BENCHTIME ?= 1s
ROUNDS ?= 7x

define say
@printf '\n\033[1m== %s\033[0m\n' $(1)
endef

.PHONY: help
help: ## list all targets
	@echo 'usage: make TARGET'
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  %-9s %s\n' "$$name" "$$text"; done

.PHONY: build
build: go ## build the static binary bin/dmcopy
	go build -trimpath -ldflags '-s -w $(if $(revision),-X main.version=$(revision))' -o bin/dmcopy ./cmd/dmcopy
	@bin/dmcopy version

# Guests run one at a time, because each of them can use two cores.
.PHONY: test
test: lint guest unit ## check: lint, unit tests, and the main suites on a real kernel, in guests (as root the first time)
	$(call say,'suites in guests')
	go test -count=1 -short -timeout 40m -p 1 $$(echo $(vm_packages) | tr ' ' '\n' | grep -vE '$(long_packages)')

.PHONY: unit
unit: go ## run the unit tests, which need no guest (as root: some use loop devices and mounts)
	$(call say,'unit tests')
	go test -count=1 -timeout 10m $(other_packages)

.PHONY: test-long
test-long: guest ## all suites in guests with all trials: every kind of layer, live changes, SCSI (DMCOPY_VM_KERNEL=6.1: an older kernel)
	go test -count=1 -timeout 90m -p 1 $(vm_packages)

# Guests of another architecture are emulated everywhere, and slower.
.PHONY: test-arm64
test-arm64: guest ## the main suites in guests of arm64, with pages of 4 and of 16 KiB (as root the first time)
	@for kernel in arm64 arm64-16k; do \
		printf '\n== %s\n' "$$kernel"; \
		DMCOPY_VM_KERNEL=$$kernel go test -count=1 -short -timeout 120m -p 1 $$(echo $(vm_packages) | tr ' ' '\n' | grep -vE '$(long_packages)'); \
	done

# Random trials take ten times as long under the race detector: there are fewer of them.
.PHONY: race
race: go gcc ## run the unit tests under the race detector (needs gcc)
	$(call say,'races')
	CGO_ENABLED=1 go test -race -count=1 -short -timeout 60m $(steady_packages)
	CGO_ENABLED=1 go test -race -count=1 -short -timeout 60m $(random_packages) -rapid.checks=5

.PHONY: demo
demo: guest ## boot a guest with NVMe disks and show what dmcopy does, with proofs (as root the first time)
	$(call say,'demo')
	@go run ./test/vm/cmd/vmrun -machine test/demo/machine.json -program ./cmd/dmcopy -- ./test/demo/demo.sh $$([ -t 2 ] && echo tty || echo plain)

.PHONY: lint
lint: go ## check format, imports and code: gofmt, go vet, staticcheck and the rules in test/lint
	$(call say,'lint')
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt -w has something to do for: $$files"; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go test -count=1 ./test/lint
	@for script in $$(git ls-files '*.sh' .ci/run); do bash -n "$$script"; done

# The disks of that guest are files in memory: a flush would measure the disk of this machine.
.PHONY: bench
bench: guest ## measure, and print tables for docs/benchmarks.md (BENCHTIME=1s, ROUNDS=7x for the copies in a guest)
	$(call say,'resolving and parsing')
	@go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./test/bench ./dmtable ./dmtable/exstore ./dmtable/thinmeta ./internal/raidmap ./mdraid ./copydomain/nvme ./dispatch | tee >(cat >&2) | awk -f test/bench/table.awk
	$(call say,'copies in a guest')
	@TMPDIR=/dev/shm go test -run '^$$' -bench . -benchtime $(ROUNDS) -timeout 60m ./test/bench/offload | tee >(cat >&2) | awk -f test/bench/table.awk

.PHONY: soak
soak: soak-fake guest ## copy between random stacks while layouts change, disks fail and copies die, in a guest (TRIALS=2000; SEED=N)
	go test -count=1 -timeout 0 -v ./test/integration/soak -trials=$(TRIALS) -seed=$(SEED)

.PHONY: soak-fake
soak-fake: go ## the same on a machine in memory, with everything that can go wrong at once (TRIALS, SEED)
	go test -count=1 -timeout 0 -v -run '^TestSoak$$' ./dispatch -rapid.checks=$(TRIALS) -rapid.seed=$(SEED)

.PHONY: mutants
mutants: guest ## take the guards away one at a time, and tell which test notices
	go run ./test/mutants -guest

.PHONY: fuzz
fuzz: go ## run every fuzz target for a while (FUZZTIME=60s each)
	@grep -rE --include='*_test.go' '^func Fuzz' . | sed -E 's|^\./(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | sort | \
	while read -r package target; do \
		printf '\n== %s %s\n' "$$package" "$$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$package" </dev/null; \
	done

.PHONY: shell
shell: guest ## a root shell in a guest with NVMe disks and dmcopy, to play in; nothing in it can harm this machine
	@go run ./test/vm/cmd/vmrun -machine test/demo/machine.json -program ./cmd/dmcopy -shell

.PHONY: clean
clean: ## remove what was built here; the guest image stays in ~/.cache/dmcopy
	rm -rf bin

# The machine needs Go; everything else is fetched.
.PHONY: go
go:
	@if ! go list -m >/dev/null 2>&1; then \
		echo "dmcopy needs the Go of go.mod ($$(sed -n 's/^go //p' go.mod)): get it from https://go.dev/dl/ and put its bin directory on PATH"; \
		echo "this machine has: $$(go version 2>&1 || true)"; \
		exit 1; \
	fi

# The race detector is written in C.
.PHONY: gcc
gcc:
	@if ! command -v gcc >/dev/null; then \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo 'the race detector needs gcc: install it, or run this as root once'; exit 1; }; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc libc6-dev; } >&2; \
	fi

# Host packages and the guest image: minutes the first time, then nothing.
.PHONY: guest
guest: go
	$(call say,'guest image (QEMU and Debian packages are installed if they are missing)')
	@test/vm/setup.sh >/dev/null

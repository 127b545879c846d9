# The two to start with: make demo, make test. `make` alone lists all targets.

comma := ,
space := $(comma:,=) 
CARGO ?= cargo
GO    ?= go
# Where the project lives, for what `make release` writes: the one place for addresses and registry, see packaging/address.
export PROJECT ?=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE ?= zoho-operator:$(VERSION)

# The control plane, the simulator and their clients talk over loopback, whatever proxy leads to the rest of the world.
export NO_PROXY := $(subst $(space),$(comma),$(strip $(or $(NO_PROXY),$(no_proxy)) 127.0.0.1 localhost ::1))
export no_proxy := $(NO_PROXY)

# Where the control plane is kept once it is built, see tests/controlplane/README.md.
CACHE        := "$${XDG_CACHE_HOME:-$$HOME/.cache}"/zoho-operator/controlplane
WITH_TESTING := --locked --workspace --features testing,otlp

# What the demo is made of.
DEMO         := --locked -p zoho-operator -p zoho-testkit --features testing

.DEFAULT_GOAL := help
MDBOOK_VERSION := 0.5.4
MDBOOK         := target/tools/bin/mdbook
MUTANTS_VERSION := 27.1.0
MUTANTS         := target/tools/bin/cargo-mutants
FUZZ_SECONDS ?= 12
FUZZ_TARGETS := reply duration template status ledger
# libFuzzer's instrumentation, as LLVM has it: no other toolchain than the one in rust-toolchain.toml is needed. With
# --target, so that build scripts and macros are not instrumented.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing

.PHONY: help build demo check deny test test-long soak flakes bench bugs mutants crash-plan crash-list e2e fuzz crds docs site golden mistakes picture demo-picture dist release verify-release reproduce lint-workflows image clean-cache need-cargo need-go

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: need-cargo ## Build the operator as it is released: target/release/zoho-operator
	$(CARGO) build --locked --release --bin zoho-operator

demo: need-cargo need-go ## Show it at work in about a minute (KEEP=1: leave it up; KUBECONFIG=…: in that cluster)
	@CARGO='$(CARGO)' tests/beside 'control-plane kubectl' $(CARGO) build $(DEMO)
	@program=$$(tests/built zoho-demo $(CARGO) build $(DEMO)) && exec "$$program"

check: need-cargo ## Formatting, lints, documentation, workflows
	$(CARGO) fmt --check
	$(CARGO) build --locked --workspace
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy $(WITH_TESTING) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(WITH_TESTING) --no-deps
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	@tests/workflows/lint

lint-workflows: need-go ## The workflows, by actionlint
	@tests/workflows/lint

deny: need-cargo ## Licences, sources and advisories of the dependencies, by cargo-deny where it is installed
	@tests/deny

test: need-cargo need-go ## Every test that takes seconds; needs nothing but this machine
	@CARGO='$(CARGO)' tests/beside 'control-plane kubectl helm' $(CARGO) build $(WITH_TESTING) --all-targets
	@tests/run $(CARGO) test $(WITH_TESTING)

test-long: need-cargo need-go ## The tests that take minutes, optimised
	$(CARGO) test $(WITH_TESTING) --release -- --ignored --skip release:: --skip soak::

soak: need-cargo need-go ## 500 credentials under random faults, one at a time (MINUTES=10, SEED=… for the same faults again, CALM=1: none)
	MINUTES='$(MINUTES)' SEED='$(SEED)' CALM='$(CALM)' $(CARGO) test $(WITH_TESTING) --release --test it soak:: -- --ignored --nocapture

flakes: need-cargo need-go ## The tests N times in a row (N=20), until one fails
	@for run in $$(seq 1 $(or $(N),20)); do \
		began=$$(date +%s); $(MAKE) --no-print-directory test || exit; \
		echo "run $$run of $(or $(N),20) passed in $$(( $$(date +%s) - began )) s"; \
	done

bugs: need-cargo need-go ## Put each bug of tests/bugs into a copy of the sources; a named test must fail (BUGS='B05 B12': these)
	@CARGO='$(CARGO)' tests/bugs/run $(BUGS)

mutants: need-cargo ## Change the decisions in every way cargo-mutants knows; a test must fail for 9 of 10 (an hour; SHARD=0/8: an eighth)
	@$(MUTANTS) --version 2>/dev/null | grep -qxF 'cargo-mutants $(MUTANTS_VERSION)' || \
		$(CARGO) install --locked --root target/tools --version $(MUTANTS_VERSION) cargo-mutants
	@tests/mutants $(MUTANTS) $(SHARD)

crash-plan: need-cargo need-go ## Kill the operator at one write again: CRASH_PLAN=flow/write/mode, as a failed test names it
	$(CARGO) test $(WITH_TESTING) --test it crash::plans::killed_at_a_tenth -- --nocapture

crash-list: need-cargo need-go ## Write tests/it/crash/boundaries.txt again: what each flow writes, and so where it is killed
	WRITE_CRASH_LIST=1 $(CARGO) test $(WITH_TESTING) --test it crash::plans::every_write

bench: need-cargo need-go ## What the released operator needs, beside the least that could be done (SIZES=100,1000 ONLY=burst PEER=folder)
	@CARGO='$(CARGO)' tests/beside 'control-plane kubectl' $(CARGO) build --locked --release --bin zoho-operator
	@$(CARGO) build --locked --release -p zoho-benches
	@target/release/zoho-bench --operator target/release/zoho-operator $(if $(SIZES),--sizes $(SIZES)) $(if $(ONLY),--only $(ONLY)) $(if $(PEER),--peer '$(PEER)')

fuzz: need-cargo ## Coverage-guided fuzzing for a minute (FUZZ_SECONDS=… for each of the five targets)
	@host=$$(rustc -vV | sed -n 's/^host: //p'); \
	for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target && \
		RUSTFLAGS='$(COVERAGE)' $(CARGO) run --release --target $$host --target-dir target/fuzz --manifest-path fuzz/Cargo.toml --bin $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=5 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- target/fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; \
	done

e2e: ## The image and the chart on a real node, 5 to 15 minutes (Linux, root; elsewhere it names what is missing)
	tests/e2e/run.sh

crds: need-cargo ## Write crds/ again after a change of crates/api
	$(CARGO) run --quiet --locked -p xtask -- crds

golden: need-cargo ## Write crates/core/tests/golden/messages.md again: what people read when something is wrong
	WRITE_GOLDEN=1 $(CARGO) test --quiet --locked -p zoho-core --test golden

mistakes: need-cargo need-go ## Write tests/it/mistakes.md again: what people get wrong, and what kubectl and the status say
	WRITE_MISTAKES=1 $(CARGO) test $(WITH_TESTING) --test it mistakes::

docs: need-cargo ## Write the generated pages of docs/ again: products, data centers, hosts, the plugin, the fields of the kinds
	$(CARGO) run --quiet --locked -p xtask -- docs

site: need-cargo ## Build the documentation site: target/site/book/index.html (installs mdBook below target/ once)
	@$(MDBOOK) --version 2>/dev/null | grep -qxF 'mdbook v$(MDBOOK_VERSION)' || \
		$(CARGO) install --locked --root target/tools --version $(MDBOOK_VERSION) --no-default-features --features search,serve mdbook
	@$(CARGO) run --quiet --locked -p xtask -- site
	@$(MDBOOK) build
	@$(CARGO) run --quiet --locked -p xtask -- site-links

picture: need-cargo need-go ## Draw docs/img/dashboard.svg again: plays hours of an operator, asks a Prometheus (Debian: prometheus)
	WRITE_PICTURE=1 $(CARGO) test $(WITH_TESTING) --test it picture::answers -- --ignored
	$(CARGO) run --quiet --locked -p xtask -- picture

demo-picture: need-cargo need-go ## Draw docs/img/demo.svg again: records one run of the demo, a minute
	@CARGO='$(CARGO)' tests/beside 'control-plane kubectl' $(CARGO) build $(DEMO)
	@program=$$(tests/built zoho-demo $(CARGO) build $(DEMO)) && \
		env -u KEEP -u KUBECONFIG "$$program" >target/demo.txt || { cat target/demo.txt; exit 1; }
	$(CARGO) run --quiet --locked -p xtask -- demo-picture

dist: need-cargo ## Archives of kubectl-zoho for what can be built here, with what krew and Homebrew need, into dist/
	@CARGO='$(CARGO)' packaging/dist

release: need-cargo need-go ## All that a release is, into dist/: image, chart, install.yaml, make dist's (PROJECT=github.com/OWNER/NAME)
	@CARGO='$(CARGO)' packaging/release

verify-release: need-cargo need-go ## Check what is in dist/: sums, contents, and whether a control plane takes it
	@CARGO='$(CARGO)' tests/beside 'control-plane kubectl helm' $(CARGO) build $(WITH_TESTING)
	@[ -s dist/SHA256SUMS ] || { echo "make: there is no release in dist/: make release" >&2; exit 1; }
	@tests/run $(CARGO) test $(WITH_TESTING) --test it release:: -- --ignored

reproduce: need-cargo need-go ## Build the committed release again, in another folder, and compare its bytes with dist/
	@CARGO='$(CARGO)' packaging/reproduce

image: ## Build the container image zoho-operator:VERSION (IMAGE=…; FEATURES=otlp; BUILDER='podman build' without docker)
	$(or $(BUILDER),docker build) --build-arg VERSION=$(VERSION) --build-arg FEATURES=$(FEATURES) --tag $(IMAGE) .

clean-cache: ## Delete the control plane that was built for the tests and the demo (10 minutes to build again)
	rm -rf $(CACHE)

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is missing: install Rust from https://rustup.rs (rust-toolchain.toml names the version, rustup gets it)" >&2; exit 1; }

# Nothing is built with Go where the programs, or a cluster, are there already.
need-go:
	@[ -n "$$KUBECONFIG$$KUBEBUILDER_ASSETS" ] || ls $(CACHE)/*/kube-apiserver >/dev/null 2>&1 || command -v $(GO) >/dev/null || { echo "make: go is missing: install Go from https://go.dev/dl/ (tests/controlplane/go.mod names the version), or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver" >&2; exit 1; }

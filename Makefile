# The project's commands. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
SCRIPTS := .ci/run .ci/bare .ci/cross .ci/limit .ci/nightly .ci/tool .ci/release \
  tests/lab/al2023.sh tests/lab/arm64.sh tests/lab/box.sh tests/lab/enter.sh tests/lab/one_process.sh tests/lab/setup.sh \
  tests/demo/run.sh tests/all.sh tests/real-aws.sh systemd/authkeysd-generator deb/package.sh \
  $(addprefix deb/authkeysd/,preinst postinst prerm postrm)

.PHONY: help demo test bench fuzz deb rpm lambda setup lint unit deny

help: ## list these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 12

demo: ## one key set from publishing to login and rotation, on this machine, with nothing left behind
	@tests/demo/run.sh

test: setup ## install what is needed (Debian, Ubuntu), then run everything
	@tests/all.sh

bench: ## the benchmarks, as a table beside curl and the AWS CLI
	$(CARGO) bench --locked
	$(CARGO) build --release --locked --package authkeysd --package authkeysd-fetch --bins
	benches/poll.py
	[ "$$(id -u)" != 0 ] || benches/many.py
	$(CARGO) build --release --locked --bin authkeys-rotate
	benches/cold_start.py

FUZZ_TARGETS := key_line text_document json_document signed_envelope allowed_signers wire
# How far: for so long, or the same number of inputs each time (RUNS=50000). CI runs the seeds alone, as tests.
fuzz: SECONDS ?= 600
fuzz: setup ## each fuzz target for SECONDS=600 seconds, from its seeds on
	@.ci/tool cargo-fuzz 0.13.2; \
	export PATH=$$PWD/target/tools/bin:$$PATH; \
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p target/fuzz/{corpus,artifacts}/$$target; \
	  $(CARGO) fuzz run --sanitizer none --target-dir target/fuzz/build $$target \
	    target/fuzz/corpus/$$target fuzz/seeds/$$target -- $(if $(RUNS),-runs=$(RUNS) -seed=1,-max_total_time=$(SECONDS)) -max_len=6000 -timeout=20 \
	    -rss_limit_mb=1024 -dict=fuzz/dictionaries/$$target.dict -artifact_prefix=target/fuzz/artifacts/$$target/ \
	    -print_final_stats=1 -verbosity=0; \
	done

# TARGET=aarch64-unknown-linux-gnu builds for the other kind of machine.
deb: ## the Debian packages authkeysd and authkeysctl, into target/packages
	@deb/package.sh deb $(TARGET)

rpm: ## the rpm packages authkeysd and authkeysctl, into target/packages
	@deb/package.sh rpm $(TARGET)

lambda: ## the rotation function for Lambda, target/packages/authkeys-rotate-lambda.zip and -arm64.zip
	@deb/package.sh lambda $(TARGET)

setup: ## install the system packages that the tests need, with CI=true a browser too
	@tests/lab/setup.sh test
	@[ "$${CI:-}" != true ] || tests/lab/setup.sh browser

lint: setup ## format, clippy, shellcheck, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	shellcheck $(SCRIPTS)
	@# Of all crates: with the same features as before, nothing below them is checked once more.
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

# TESTS='--test core' and the like: only some of them. Cargo then builds the programs of one package alone, and tests run those of all.
unit: setup ## all Rust tests: as root with logins on private machines, else without them
	@export TMPDIR=$$(mktemp --directory); trap 'rm -rf --one-file-system "$$TMPDIR"' EXIT; chmod 0755 "$$TMPDIR"; \
	$(if $(TESTS),$(CARGO) build --locked --bins; )$(CARGO) test --locked $(TESTS)

# The advisory database lies outside the package registries, and is not asked. In CI it is a job of its own.
deny: ## licences, bans and sources of the dependencies
	@.ci/tool cargo-deny 0.20.2 --no-default-features
	@PATH=$$PWD/target/tools/bin:$$PATH $(CARGO) deny --locked check bans licenses sources

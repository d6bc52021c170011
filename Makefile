# The project's commands. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
SCRIPTS := .ci/run tests/lab/box.sh tests/lab/enter.sh tests/lab/setup.sh tests/demo/run.sh \
  .ci/tool systemd/authkeysd-generator deb/package.sh $(addprefix deb/authkeysd/,preinst postinst prerm postrm)

.PHONY: help demo test bench fuzz deb rpm setup lint unit deny

help: ## list these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 12

demo: ## one key set from publishing to login and rotation, on this machine, with nothing left behind
	@tests/demo/run.sh

test: setup lint deb rpm unit demo ## install what is needed (Debian, Ubuntu), then run everything

bench: ## the benchmarks
	$(CARGO) bench --locked
	$(CARGO) build --release --locked --bin authkeysd
	benches/poll.py

FUZZ_TARGETS := key_line text_document json_document signed_envelope allowed_signers
# How far: for so long, or as CI does, the same inputs each time (RUNS=50000).
fuzz: SECONDS ?= 600
fuzz: ## each fuzz target for SECONDS=600 seconds, from its seeds on (cargo-fuzz is installed below target when missing)
	@export PATH=$$PWD/target/tools/bin:$$PATH; \
	command -v cargo-fuzz >/dev/null || $(CARGO) install --quiet cargo-fuzz --version 0.13.2 --locked --debug \
	  --root target/tools --target-dir target/tools/build; \
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

setup: ## install the system packages that the tests need
	@tests/lab/setup.sh test

lint: setup deny ## format, clippy, shellcheck, documentation, licences and bans
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	shellcheck $(SCRIPTS)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --quiet --locked --no-deps

unit: setup ## all Rust tests: as root with logins on private machines, else without them
	$(CARGO) test --locked

deny: ## licences, bans and sources of the dependencies (cargo-deny; required where CI=true)
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check bans licenses sources; \
	elif [ "$${CI:-}" = true ]; then \
	  echo 'make: cargo-deny is missing' >&2; exit 1; \
	else \
	  echo 'SKIPPED: cargo-deny is not installed, licences and bans are not checked'; \
	fi

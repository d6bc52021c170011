#!/usr/bin/env bash
# all.sh (`make test`): lint, packages, all tests, the demo. The packages need a processor for minutes, and most tests wait for
# something: so the packages are built at the lowest priority while the rest runs, and their tests come last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=target/packages.log
# The tests of the packages, by the modules of the test program `booted`. Where a name is wrong, such a test finds no package, and
# fails in CI.
of_packages=(package_booted:: packages:: readme_booted:: rpm_booted::)
# The packages for arm64 and those of an old version take as long as all of this: .ci/nightly builds them, and runs their tests.
nightly=(arm64:: one_process::)

mkdir -p target
# A process group of its own, so that nothing of it goes on when this ends.
set -m
nice -n 19 make deb rpm </dev/null >"$log" 2>&1 &
packages=$!
set +m
trap 'kill -- -"$packages" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP

make lint
skipped=("${of_packages[@]}" "${nightly[@]}")
make unit TESTS="-- ${skipped[*]/#/--skip }"
echo 'waiting for the packages'
if ! wait "$packages"; then
  cat "$log"
  echo "all: the packages could not be built; $log is above" >&2
  exit 1
fi
tail -n 8 "$log"
make unit TESTS="--test booted -- ${of_packages[*]}"
tests/demo/run.sh --program target/debug/authkeysd

#!/usr/bin/env bash
# one_process.sh: has the Debian packages of the last commit in which authkeysd was one process, which spoke to AWS as root:
# target/tmp/one_process/authkeysd.deb and authkeysctl.deb, from which tests/booted/one_process.rs upgrades. Built once, by that
# commit's own deb/package.sh, in its own target directory; the tools are those of today's packages. Takes 15 minutes, and needs that
# commit in this clone.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

commit=fe754cf129d785441479e7925edba1c0b01d0b5f
place=$PWD/target/tmp/one_process
[ ! -e "$place/authkeysd.deb" ] || [ ! -e "$place/authkeysctl.deb" ] || exit 0
if ! time=$(git log -1 --format=%ct "$commit" 2>/dev/null); then
  echo "one_process: commit ${commit:0:7} is not in this clone: run git fetch --unshallow" >&2
  exit 1
fi

echo "building the packages of commit ${commit:0:7} (15 minutes)"
source=$place/source
# What an interrupted run compiled is of use to the next one.
mkdir -p "$source" target/tools
git archive "$commit" | tar --extract --directory="$source"
# Else cargo takes this checkout for its workspace.
printf '\n[workspace]\n' >>"$source/Cargo.toml"
mkdir -p "$source/target"
ln -sfn "$PWD/target/tools" "$source/target/tools"
env --unset=CARGO_TARGET_DIR SOURCE_DATE_EPOCH="$time" nice -n 19 "$source/deb/package.sh" deb "$(uname -m)-unknown-linux-gnu"
for name in authkeysctl authkeysd; do
  mv "$source"/target/packages/"$name"_*.deb "$place/$name.deb"
done
rm -rf "$source"

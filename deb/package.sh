#!/usr/bin/env bash
# package.sh deb|rpm|lambda [TARGET]: the packages authkeysd and authkeysctl of that kind, or the rotation function's archive for
# Lambda, into target/packages. TARGET is x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu. The default is this machine's; for
# Lambda it is each one that the toolchain can build for. The programs are built for C libraries from 2.26 (Amazon Linux 2) on, and
# lie in target/TARGET/release. The tools that it takes go below target/tools, among them a compiler for a TARGET that the toolchain
# lacks (.ci/cross).
set -euo pipefail
umask 022 # whatever the caller's is: the packages are the same
cd "$(dirname "${BASH_SOURCE[0]}")/.."

glibc=2.26
tools=$PWD/target/tools

# The linker, with the headers and symbol lists of old C libraries.
linker() {
  local pins
  pins=$(sha256sum <deb/requirements.txt)
  if [ "$(cat "$tools/zig/done" 2>/dev/null)" != "$pins" ]; then
    echo "installing cargo-zigbuild and zig below target/tools"
    python3 -m venv --clear "$tools/zig"
    "$tools/zig/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r deb/requirements.txt
    echo "$pins" >"$tools/zig/done"
  fi
}

# Builds a package's programs with the toolchain's compiler, or with Debian's where the toolchain lacks the target.
build() {
  local target=$1 package=$2 with=() smaller=()
  installed "$target" || with=(.ci/cross)
  if [ "$package" = authkeysctl ]; then
    # It does at a person's pace what authkeysd does at each poll, and its rpm is to stay below 3.5 MB.
    smaller=(--config 'profile.release.package.authkeys-core.opt-level="z"' --config 'profile.release.package.sha2.opt-level="z"')
  fi
  # The key exchange of a rotation's test logins needs no vector instructions, which take 60 KB.
  LIBCRUX_DISABLE_SIMD128=1 LIBCRUX_DISABLE_SIMD256=1 PATH=$tools/zig/bin:$PATH "${with[@]}" \
    cargo zigbuild "${smaller[@]}" --release --locked --package "$package" --bins --target "$target.$glibc"
}

programs() {
  echo "building the programs for $1, C library $glibc (the first build takes some minutes)"
  # One after the other: what only the operators' program needs of the AWS SDK stays out of authkeysd-fetch.
  local program
  for program in authkeysd authkeysd-fetch authkeysctl; do
    build "$1" "$program"
  done
}

# A symbol of a newer C library would let a program start nowhere on Amazon Linux 2. readelf reads programs of every machine.
judge() {
  local target=$1 program highest
  shift
  for program; do
    highest=$(readelf --version-info --wide "target/$target/release/$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    if [ -z "$highest" ] || [ "$(printf '%s\n' "$highest" "GLIBC_$glibc" | sort -V | tail -n 1)" != "GLIBC_$glibc" ]; then
      echo "package: $program for $target needs ${highest:-no C library that can be told}, more than GLIBC_$glibc" >&2
      exit 1
    fi
  done
}

# Lambda starts the file `bootstrap`. The archive is the same for the same program: its time is the commit's.
lambda() {
  local archive=target/packages/authkeys-rotate-lambda.zip
  [ "$1" != aarch64-unknown-linux-gnu ] || archive=target/packages/authkeys-rotate-lambda-arm64.zip
  echo "building the rotation function for $1 (the first build takes some minutes)"
  build "$1" authkeys-rotate
  judge "$1" authkeys-rotate
  python3 - "target/$1/release/authkeys-rotate" "$archive" <<'END'
import os, sys, time, zipfile
program, archive = sys.argv[1:]
entry = zipfile.ZipInfo('bootstrap', time.gmtime(int(os.environ['SOURCE_DATE_EPOCH']))[:6])
entry.external_attr = 0o100755 << 16
entry.compress_type = zipfile.ZIP_DEFLATED
with zipfile.ZipFile(archive, 'w') as file, open(program, 'rb') as content:
    file.writestr(entry, content.read(), compresslevel=9)
END
  if [ "$(stat --format=%s "$archive")" -ge 10000000 ]; then
    echo "package: $archive has 10 MB or more: a cold start would take too long" >&2
    exit 1
  fi
}

# Whether the toolchain can build for a target: it has that target's standard library.
installed() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]
}

# For the machine that was named; else for x86-64 and arm64, as far as the toolchain can.
lambdas() {
  local target
  if [ -n "$1" ]; then
    lambda "$1"
    return
  fi
  for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
    if installed "$target"; then
      lambda "$target"
    else
      echo "not built for $target, which the toolchain lacks: name it as TARGET, or run rustup target add $target"
    fi
  done
}

version() {
  sed -nE 's/^version = "(.*)"/\1/p' Cargo.toml | head -n 1
}

# Man pages (rpm takes them compressed, cargo-deb compresses by itself), completions, and the change log in Debian's form.
texts() {
  local maintainer page
  cargo run --locked --example manual -- target/manual
  for page in target/manual/*.[158]; do
    gzip -9 --no-name --force --keep "$page"
  done
  maintainer=$(sed -nE 's/^maintainer = "(.*)"/\1/p' Cargo.toml)
  cat >target/manual/changelog.Debian <<END
authkeysd ($(version)-1) unstable; urgency=medium

  * Version $(version). What changed for users is in changelog.gz.

 -- $maintainer  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
}

debs() {
  .ci/tool cargo-deb 3.8.0 --no-default-features
  local variant package
  for variant in node operator; do
    package=$("$tools/bin/cargo-deb" --quiet --no-build --no-strip --compress-system --target "$1" --variant "$variant" \
      --output target/packages/)
    [ "$1" != x86_64-unknown-linux-gnu ] || shrink "$package"
  done
}

# xz's filter for x86-64 makes programs a twelfth smaller; cargo-deb passes no filters on. To unpack it takes 17 MiB of memory, and
# any dpkg.
shrink() {
  local parts
  parts=$(mktemp --directory)
  ar x --output "$parts" "$1"
  xz --decompress "$parts/data.tar.xz"
  xz --x86 --lzma2=preset=9e,dict=16MiB "$parts/data.tar"
  rm "$1"
  ar rcDS "$1" "$parts/debian-binary" "$parts/control.tar.xz" "$parts/data.tar.xz"
  rm -r "$parts"
}

# Both packages, as rpm/authkeysd.spec says. The programs of another kind of machine are packed, not looked into.
rpms() {
  local into
  into=$(mktemp --directory)
  rpmbuild -bb --quiet --target "${1%%-*}" --define "_topdir $into" --define "_rpmdir $PWD/target/packages" \
    --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define "number $(version)" --define "top $PWD" \
    --define "programs target/$1/release" --define 'environment systemd/environment' rpm/authkeysd.spec
  rm -r "$into"
}

main() {
  local kind=${1:-} target=${2:-$(uname -m)-unknown-linux-gnu} needs=package
  case $kind in
    deb | rpm | lambda) ;;
    *)
      echo 'usage: deb/package.sh deb|rpm|lambda [TARGET]' >&2
      exit 64
      ;;
  esac
  [ "$kind" != rpm ] || needs=rpm
  tests/lab/setup.sh "$needs"
  # The same commit gives the same packages.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
  export SOURCE_DATE_EPOCH
  linker
  mkdir -p target/packages
  if [ "$kind" = lambda ]; then
    lambdas "${2:-}"
    ls -l target/packages/*.zip
    return
  fi
  programs "$target"
  judge "$target" authkeysd authkeysd-fetch authkeysctl
  texts
  "${kind}s" "$target"
  ls -l target/packages/*."$kind"
}

main "$@"

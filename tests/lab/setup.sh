#!/usr/bin/env bash
# setup.sh demo|package|rpm|test|browser|bare: has the system packages that the demo, the packages (rpm: those too), the tests, those in
# a browser, or .ci/run need (Debian, Ubuntu; the browser on Ubuntu only where google-chrome is there). Quick when nothing is missing.
# Installs as root, or through a sudo that asks no password; else names what is missing and exits 1. It also stops where cargo does not
# work, so that nothing that a build needs is found missing in the middle of it.
set -euo pipefail

usage() {
  echo "usage: tests/lab/setup.sh demo|package|rpm|test|browser|bare" >&2
  exit 64
}

# One line for each tool: how to tell that it is there (one of several will do), and the package that brings it. `lab` is what
# enter.sh needs: the tests, and the demo as root.
tools() {
  cat <<'END'
demo command sshd openssh-server
demo command ssh openssh-client
demo command ssh-keygen openssh-client
demo command python3 python3
demo links cc gcc
demo links cc libc6-dev
lab command unshare util-linux
lab command mount mount
lab command ip iproute2
test command pgrep procps
test command strace strace
test command valgrind valgrind
test command mkfs.ext4 e2fsprogs
test command chattr e2fsprogs
test command mkfs.xfs xfsprogs
test command fusermount3 fuse3
test command shellcheck shellcheck
test command c++ g++
test command git git
test command jq jq
test command mmdebstrap mmdebstrap
test command patchelf patchelf
test command systemd-nspawn systemd-container
test command promtool prometheus
test command mandoc mandoc
test command zsh zsh
test command fish fish
test module ensurepip python3-venv
test file /usr/share/zoneinfo/Pacific/Auckland tzdata
package links cc gcc
package links cc libc6-dev
package command git git
package command readelf binutils
package command xz xz-utils
package module ensurepip python3-venv
test command lintian lintian
rpm command rpmbuild rpm
test command rpmlint rpmlint
test command objdump binutils
browser command chromium-headless-shell|chromium|google-chrome chromium-headless-shell
browser file /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
bare command mmdebstrap mmdebstrap
bare command git git
bare file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
END
}

any_of() {
  local name names
  IFS='|' read -ra names <<<"$1"
  for name in "${names[@]}"; do
    ! command -v "$name" >/dev/null || return 0
  done
  return 1
}

# Whether a compiler makes a program. Without the C library's headers and start files (libc6-dev) it is there, and does not.
links() {
  local made status=0
  made=$(mktemp)
  printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' | "$1" -x c -o "$made" - >/dev/null 2>&1 || status=1
  rm -f "$made"
  return $status
}

missing() {
  local mode=$1 modes for_mode kind name package
  case $mode in
    demo) modes=" demo " ;;
    rpm) modes=" package rpm " ;;
    test) modes=" demo lab package rpm test " ;;
    *) modes=" $mode " ;;
  esac
  [ "$mode" != demo ] || [ "$(id -u)" != 0 ] || modes+="lab "
  tools | while read -r for_mode kind name package; do
    [[ $modes = *" $for_mode "* ]] || continue
    case $kind in
      command) any_of "$name" || echo "$package" ;;
      links) links "$name" || echo "$package" ;;
      file) [ -e "$name" ] || echo "$package" ;;
      module) python3 -c "import $name" 2>/dev/null || echo "$package" ;;
    esac
  done | sort -u
}

# Installing openssh-server must not give this machine an SSH server: none is started now, none at the next boot.
install() {
  local policy=/usr/sbin/policy-rc.d with_sshd=no package
  for package in "$@"; do
    [ "$package" != openssh-server ] || with_sshd=yes
  done
  mkdir -p /run/lock
  exec 9>/run/lock/authkeysd-setup.lock
  flock 9
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  # A person sees apt's progress; a log gets the failure alone.
  if [ -t 1 ]; then
    apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
  else
    apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" >/dev/null
  fi
  if [ "$with_sshd" = yes ] && command -v systemctl >/dev/null; then
    systemctl --quiet disable ssh.service ssh.socket 2>/dev/null || true
  fi
}

# rustup installs the toolchain that the checkout names here, where it is wanted, and not in the middle of something else.
toolchain() {
  if ! (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && cargo --version >/dev/null); then
    echo "setup: cargo does not work here: install the Rust toolchain (https://rustup.rs), then run this again" >&2
    exit 1
  fi
}

main() {
  local mode=${1:-} packages
  case $mode in
    demo | package | rpm | test | browser | bare) [ $# = 1 ] || usage ;;
    install)
      shift
      install "$@"
      return
      ;;
    *) usage ;;
  esac
  case $mode in demo | package | rpm | test) toolchain ;; esac
  # Daemons and file-system tools live in sbin, which an ordinary user's PATH lacks on Debian.
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  mapfile -t packages < <(missing "$mode")
  [ ${#packages[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "setup: missing what these Debian packages hold: ${packages[*]}" >&2
    exit 1
  fi
  local as=()
  if [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null && as=(sudo -n); }; then
    echo "setup: installing ${packages[*]} ${as[*]}"
    if ! "${as[@]}" "$0" install "${packages[@]}"; then
      [ "$mode" != browser ] || echo "setup: where a distribution has no chromium-headless-shell (Ubuntu), install google-chrome by hand" >&2
      exit 1
    fi
  else
    echo "setup: missing packages; run: sudo $(realpath "$0") install ${packages[*]}" >&2
    exit 1
  fi
  mapfile -t packages < <(missing "$mode")
  if [ ${#packages[@]} -gt 0 ]; then
    echo "setup: still missing after the installation: ${packages[*]}" >&2
    exit 1
  fi
}

main "$@"

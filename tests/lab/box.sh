#!/usr/bin/env bash
# box.sh: a booted Debian with systemd as PID 1, on a machine whose own PID 1 may be anything. BOX is a directory of the
# caller's; its last part names the machine and must be unique on this one. Needs root, systemd-nspawn, mmdebstrap, ip.
#
#   box.sh tree SUITE DIR     makes a base tree (once; boots never change it): a Debian release, or al2023, a Debian 12 that
#                             looks like Amazon Linux 2023 (al2023.sh)
#   box.sh boot BOX TREE      boots an overlay of the tree, with a network of its own that has only a loopback
#   box.sh in BOX CMD...      runs CMD inside; its exit status is CMD's
#   box.sh net BOX CMD...     runs CMD out here, but in the box's network
#   box.sh root BOX           the box's root directory, as seen from here
#   box.sh reboot BOX         an orderly reboot on the same disk
#   box.sh cut BOX            kills PID 1, as a power cut would, and boots again on the same disk
#   box.sh stop BOX           ends it and removes everything
#
# Exit status 77: this machine or user cannot have a box.
set -euo pipefail
umask 022 # whatever the caller's is
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

cannot() {
  echo "box: $*" >&2
  exit 77
}

PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,openssh-client,iproute2,procps,e2fsprogs,ca-certificates,rpm

tree() {
  local suite=$1 dir=$2 change=:
  if [ "$suite" = al2023 ]; then
    suite=bookworm
    change=$(dirname "$(realpath "$0")")/al2023.sh
    PACKAGES+=,dnf,createrepo-c,sudo
    # Another change is another tree.
    made_of=$(sha256sum <"$change")
  fi
  made_of=$PACKAGES${made_of:-}
  ! have "$dir" || return 0
  # Two tests may want the same tree; the second waits. What an interrupted run left is no tree.
  mkdir -p "$(dirname "$dir")"
  exec 9>"$dir.lock"
  flock 9
  ! have "$dir" || return 0
  rm -rf "$dir" "$dir.new"
  # sshd from 9.8 on shuts out an address from which logins were refused, as tests mean them to be.
  # shellcheck disable=SC2016 # mmdebstrap's hook expands it
  mmdebstrap --quiet --variant=apt --include="$PACKAGES" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N "" -f "$1/etc/ssh/ssh_host_ed25519_key"' \
    --customize-hook='mkdir -p "$1/run/sshd"; ! chroot "$1" /usr/sbin/sshd -t -o PerSourcePenalties=no 2>/dev/null || echo "PerSourcePenalties no" >"$1/etc/ssh/sshd_config.d/lab.conf"' \
    --customize-hook='mkdir -p "$1/var/log/journal"; : >"$1/etc/machine-id"' \
    "$suite" "$dir.new" >&2
  # Not as a hook: mmdebstrap still needs apt after its hooks.
  "$change" "$dir.new" >&2
  mv "$dir.new" "$dir"
  echo "$made_of" >"$dir.packages"
}

# Whether a tree is there, with the packages of today.
have() {
  [ -x "$1/lib/systemd/systemd" ] && [ "$(cat "$1.packages" 2>/dev/null)" = "$made_of" ]
}

# The unified hierarchy, also where the machine has the old ones beside it.
cgroup() {
  local unified=/sys/fs/cgroup/unified
  [ -d "$unified" ] || unified=/sys/fs/cgroup
  echo "$unified/box-$name"
}

start() {
  local group parent pid='' try
  group=$(cgroup)
  ip netns list | grep -qw "$name" || { ip netns add "$name" && ip -n "$name" link set lo up; }
  mkdir -p "$group"
  (
    echo "$BASHPID" >"$group/cgroup.procs" # a group of its own: nspawn's payloads must not meet
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    # BPF is what IPAddressDeny= and DevicePolicy= need. nspawn wants its own directory below /run on a tmpfs.
    # shellcheck disable=SC2016 # the inner shell expands it
    exec setsid unshare --mount sh -c '
      mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && exec "$@"' sh \
      systemd-nspawn --quiet --directory="$box/disk/root" --machine="$name" --boot --register=no --keep-unit \
      --network-namespace-path="/run/netns/$name" --link-journal=no --resolv-conf=off --system-call-filter=bpf \
      --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN --console=pipe --kill-signal=SIGRTMIN+4 \
      </dev/null >>"$box/console.log" 2>&1 9>&-
  ) &
  parent=$!
  echo "$parent" >"$box/parent"
  for ((try = 0; try < 1500; try++)); do
    pid=$(pgrep -P "$parent" 2>/dev/null | head -n 1) || pid=
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ] && [ -S "/proc/$pid/root/run/systemd/private" ]; then
      echo "$pid" >"$box/leader"
      # "degraded" is for the caller to look at.
      timeout 90 "$0" in "$box" systemctl is-system-running --wait >/dev/null || true
      return 0
    fi
    kill -0 "$parent" 2>/dev/null || break
    sleep 0.02
  done
  cat "$box/console.log" >&2
  cannot "the box does not come up"
}

boot() {
  local tool
  [ "$(id -u)" = 0 ] || cannot "needs root"
  for tool in systemd-nspawn ip nsenter unshare pgrep; do
    command -v "$tool" >/dev/null || cannot "$tool is missing: run tests/lab/setup.sh test"
  done
  mkdir -p "$box/disk"
  mount -t tmpfs -o size=2g tmpfs "$box/disk"
  mkdir "$box/disk/upper" "$box/disk/work" "$box/disk/root"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$box/disk/upper,workdir=$box/disk/work" "$box/disk/root"
  start
}

# Ends PID 1 by a signal and waits for nspawn's end.
halt() {
  local parent try
  parent=$(cat "$box/parent")
  kill -s "$1" "$(cat "$box/leader")" 2>/dev/null || true
  for ((try = 0; try < 1500; try++)); do
    if ! kill -0 "$parent" 2>/dev/null || grep -q '^State:.*Z' "/proc/$parent/status" 2>/dev/null; then
      return 0
    fi
    sleep 0.02
  done
  kill -s KILL "$parent"
}

stop() {
  [ ! -e "$box/leader" ] || halt KILL
  for mounted in "$box/disk/root" "$box/disk"; do
    ! mountpoint -q "$mounted" || umount "$mounted" 2>/dev/null || umount --lazy "$mounted"
  done
  ip netns del "$name" 2>/dev/null || true
  [ ! -d "$(cgroup)" ] || find "$(cgroup)" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  rm -rf "$box"
}

command=${1:-}
[ $# -ge 2 ] || { sed -nE 's/^#   (box.sh.*)/\1/p' "$0" >&2; exit 64; }
if [ "$command" = tree ]; then
  [ "$(id -u)" = 0 ] || cannot "needs root"
  command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing: run tests/lab/setup.sh test"
  tree "$2" "$3"
  exit
fi
box=$2
name=$(basename "$box")
shift 2
case $command in
  boot) boot "$@" ;;
  in)
    exec nsenter --target "$(cat "$box/leader")" --mount --uts --ipc --net --pid --cgroup --wdns=/ \
      env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ;;
  net) exec ip netns exec "$name" "$@" ;;
  root) echo "$box/disk/root" ;;
  reboot) halt RTMIN+4 && start ;;
  cut) halt KILL && start ;;
  stop) stop ;;
  *) exec "$0" ;;
esac

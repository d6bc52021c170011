#!/usr/bin/env bash
# arm64.sh: an arm64 Debian on a machine of another kind. The kernel hands its programs to qemu (.ci/cross); the machine's own
# programs run beside them.
#
#   arm64.sh tree DIR        makes a Debian 12 for arm64 with sshd in DIR (once). It is unpacked and not configured: a minute less
#   arm64.sh in TREE CMD...  runs CMD as root in namespaces of its own, with a copy of TREE at $ARM64_ROOT, and the users alice and bob
#                            in there; the exit status is CMD's, and all else is gone when it ends
#
# Needs root, mmdebstrap and Linux 6.7, from which on a user namespace can have formats of programs of its own: the machine's stay as
# they are. Exit status 77: this machine or user cannot do it.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 022
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
qemu=$top/target/tools/cross/qemu-aarch64

cannot() {
  echo "arm64: $*" >&2
  exit 77
}

tree() {
  local dir=$1
  [ ! -d "$dir" ] || return 0
  mkdir -p "$(dirname "$dir")"
  rm -rf "$dir.new"
  # What our package's scripts call is in the packages that every Debian has.
  mmdebstrap --quiet --mode=root --architectures=arm64 --variant=extract --skip=check/qemu \
    --include=openssh-server,base-files,base-passwd,dash,bash,coreutils,diffutils,dpkg,findutils,grep,gzip,libc-bin,login,passwd,sed,tar,ca-certificates \
    bookworm "$dir.new" >&2
  mv "$dir.new" "$dir"
}

# In its own namespaces, as the root of a user namespace in which every user is the machine's.
inside() {
  local tree=$1 users=/etc/passwd root=$2 id=1000 user
  shift 2
  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || cannot "no formats of programs of one's own here (Linux 6.7)"
  # The head of an ELF file of 64 bits for this machine; F: the emulator is opened now, so that it is found from within the root.
  printf '%s' ":arm64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$qemu:F" \
    >/proc/sys/fs/binfmt_misc/register
  ip link set lo up
  mount -t tmpfs tmpfs "$root"
  # No overlay: in a user namespace it cannot rename directories, as dpkg does.
  tar --create --directory="$tree" --exclude=./dev . | tar --extract --directory="$root"
  mkdir "$root/dev"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  cp "$root/usr/share/base-passwd/passwd.master" "$root$users"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  echo 'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin' >>"$root$users"
  for user in alice bob; do
    echo "$user:x:$id:$id::/home/$user:/bin/sh" >>"$root$users"
    echo "$user:x:$id:" >>"$root/etc/group"
    install -d -o "$id" -g "$id" -m 0755 "$root/home/$user"
    id=$((id + 1))
  done
  sed 's/:.*/:*:19000::::::/' "$root$users" >"$root/etc/shadow"
  chmod 0640 "$root/etc/shadow"
  mkdir -p "$root/run/sshd"
  export ARM64_ROOT=$root
  local status=0
  env --default-signal=HUP,INT,QUIT,TERM "$@" || status=$?
  exit "$status"
}

enter() {
  local tree=$1 place child status=0
  shift
  [ "$(id -u)" = 0 ] || cannot "needs root"
  [ -x "$qemu" ] || cannot "there is no qemu: run .ci/cross"
  place=$(mktemp --directory)
  mkdir "$place/root"
  mkfifo "$place/go"
  # shellcheck disable=SC2016 # the inner shell expands it
  unshare --user --mount --net --pid --ipc --uts --fork --kill-child --mount-proc \
    bash -c 'read -r _ <"$1"; shift; exec "$@"' bash "$place/go" "$0" --inside "$tree" "$place/root" "$@" &
  child=$!
  trap 'kill "$child" 2>/dev/null || true; rm -rf --one-file-system "$place"' EXIT
  # The namespace is there once it differs from this one; then its users can be mapped.
  while [ "$(readlink "/proc/$child/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do
    kill -0 "$child" 2>/dev/null || cannot "this machine permits no user namespaces"
    sleep 0.02
  done
  echo '0 0 4294967295' >"/proc/$child/uid_map"
  echo '0 0 4294967295' >"/proc/$child/gid_map"
  echo go >"$place/go"
  wait "$child" || status=$?
  exit "$status"
}

case ${1:-} in
  tree) tree "$2" ;;
  in) enter "${@:2}" ;;
  --inside) inside "${@:2}" ;;
  *) sed -nE 's/^#   (arm64.sh.*)/\1/p' "$0" >&2 && exit 64 ;;
esac

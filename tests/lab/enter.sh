#!/usr/bin/env bash
# enter.sh CMD...: runs CMD as root on a machine of its own: private mount, network, pid, uts and ipc namespaces, the
# users alice and bob, empty /home, /run, /tmp and /var/lib, an /etc/ssh of its own, and a real sshd on 127.0.0.1:2222
# that reads /etc/ssh/sshd_config, so that `sshd -T` inside tells the truth about it. All is gone when CMD ends. The
# host's users and ports stay untouched, and its root file system is read-only in here, the checkout excepted.
#
# CMD finds: LAB=1, LAB_PORT, LAB_SSH (an ssh command without user and key), and below /run/lab the server's
# configuration, log, host key and pid file. LAB_KEEP (directories, colon separated) names what is to stay visible and
# writable beside the checkout, wherever it lies. alice and bob reach what lies below /root or in a closed directory as little
# as on any machine: what they are to run is copied to where they can.
#
# LAB_TREE names the root of another Debian (box.sh tree). Then its sshd is the one that is installed here and that runs, with the
# C library and all libraries of that Debian; its ssh-keygen is /run/lab/ssh-keygen. The accounts, their shells and the client stay
# this machine's.
#
# Exit status: CMD's; 77 when this machine or user cannot have a lab.
set -euo pipefail

cannot() {
  echo "lab: $*" >&2
  exit 77
}

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

if [ "${1:-}" != --inside ]; then
  [ $# -gt 0 ] || { echo "usage: tests/lab/enter.sh CMD..." >&2; exit 64; }
  [ "$(id -u)" = 0 ] || cannot "needs root"
  for tool in sshd ssh ssh-keygen unshare mount ip ${LAB_TREE:+patchelf}; do
    command -v "$tool" >/dev/null || cannot "$tool is missing: run tests/lab/setup.sh test as root"
  done
  namespaces=(--mount --net --pid --uts --ipc --fork --kill-child --mount-proc)
  unshare "${namespaces[@]}" true 2>/dev/null || cannot "this machine does not permit private namespaces (unshare)"
  exec unshare "${namespaces[@]}" "$here/enter.sh" --inside "$@"
fi
shift

# Whatever fails before CMD starts is this machine's inability, said on one line.
trap 'cannot "no private machine can be made here: $BASH_COMMAND: status $?"' ERR

users=(alice bob)
from=$PWD
lab=/run/lab
umask 022
mount --make-rprivate /
ip link set lo up
echo lab >/proc/sys/kernel/hostname

# The kept directories are opened before the new file systems cover them, and bound in again after.
IFS=: read -r -a keep <<<"$(cd "$here/../.." && pwd -P):${LAB_KEEP:-}"
opened=()
for dir in "${keep[@]}"; do
  [ -d "$dir" ] || cannot "$dir is to be kept, but is not a directory"
  exec {fd}<"$dir"
  opened+=("$fd")
done
if [ -n "${LAB_TREE:-}" ]; then
  [ -x "$LAB_TREE/usr/sbin/sshd" ] || cannot "$LAB_TREE has no sshd"
  exec {tree}<"$LAB_TREE"
fi
for dir in /run /home /var/lib; do
  mount -t tmpfs -o mode=0755 tmpfs "$dir"
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$lab/root" /run/sshd /run/lock
for i in "${!keep[@]}"; do
  fd=${opened[i]}
  mkdir -p "${keep[i]}"
  mount --no-canonicalize --rbind "/proc/self/fd/$fd" "${keep[i]}"
  exec {fd}<&-
done
if [ -n "${LAB_TREE:-}" ]; then
  mkdir "$lab/tree"
  mount --no-canonicalize --bind "/proc/self/fd/$tree" "$lab/tree"
  mount -o remount,bind,ro "$lab/tree"
  exec {tree}<&-
fi
mount -o remount,bind,ro /

# Users: shadow '*', since sshd without PAM refuses an account whose field starts with '!'. No home below a directory
# that everybody can write (StrictModes). root's home moves too, so that nothing in here can reach the real one's keys.
sed 's|^\(root:[^:]*:0:0:[^:]*\):[^:]*:|\1:/run/lab/root:|' /etc/passwd >"$lab/passwd"
cp -p /etc/group /etc/shadow "$lab/"
grep -q '^sshd:' "$lab/passwd" || echo 'sshd:x:60000:65534::/run/sshd:/usr/sbin/nologin' >>"$lab/passwd"
id=60001
for user in "${users[@]}"; do
  sed -i "/^$user:/d" "$lab/passwd" "$lab/group" "$lab/shadow"
  echo "$user:x:$id:$id::/home/$user:/bin/sh" >>"$lab/passwd"
  echo "$user:x:$id:" >>"$lab/group"
  echo "$user:*:19000::::::" >>"$lab/shadow"
  id=$((id + 1))
done
for file in passwd group shadow; do
  mount --bind "$lab/$file" "/etc/$file"
done
for user in "${users[@]}"; do
  install -d -o "$user" -g "$user" -m 0755 "/home/$user"
  install -d -o "$user" -g "$user" -m 0700 "/home/$user/.ssh"
done

# sshd. The host's own keys are not taken along.
mkdir "$lab/etc-ssh" "$lab/etc-ssh/authorized_keys.d"
[ ! -e /etc/ssh/moduli ] || cp -p /etc/ssh/moduli "$lab/etc-ssh/"
mount --bind "$lab/etc-ssh" /etc/ssh
ssh-keygen -q -t ed25519 -N '' -C lab -f "$lab/host_key"
LAB_PORT=2222
cat >/etc/ssh/sshd_config <<END
Port $LAB_PORT
ListenAddress 127.0.0.1
HostKey $lab/host_key
PidFile $lab/sshd.pid
LogLevel VERBOSE
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/authorized_keys.d/%u
END
ln -s /etc/ssh/sshd_config "$lab/sshd_config"
sshd=$(command -v sshd)

# A copy of a program of the other Debian. It names its own loader and libraries, since this machine's C library may be too old for
# it, and too new for what that one brings along.
foreign() {
  local loader libraries
  for loader in "$lab"/tree/lib/*-linux-gnu/ld-linux-*.so.*; do
    libraries=${loader%/*}
  done
  cp "$lab/tree/$1" "$2"
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries:$lab/tree/usr${libraries#"$lab/tree"}" "$2"
}

if [ -n "${LAB_TREE:-}" ]; then
  foreign usr/sbin/sshd "$lab/sshd"
  foreign usr/bin/ssh-keygen "$lab/ssh-keygen"
  mount --bind "$lab/sshd" "$sshd"
  # Since 9.8 sshd serves each login by programs of their own.
  mkdir "$lab/libexec"
  cp -p /usr/lib/openssh/* "$lab/libexec/"
  for program in "$lab"/tree/usr/lib/openssh/sshd-*; do
    [ ! -x "$program" ] || foreign "${program#"$lab/tree/"}" "$lab/libexec/${program##*/}"
  done
  mount --bind "$lab/libexec" /usr/lib/openssh
fi
# Since 9.8 sshd shuts out an address after refusals; tests refuse on purpose.
if "$sshd" -T | grep -q '^persourcepenalties'; then
  echo 'PerSourcePenalties no' >>/etc/ssh/sshd_config
fi
"$sshd" -E "$lab/sshd.log" || { cat "$lab/sshd.log" >&2; cannot "sshd does not start"; }
# It goes into the background before it listens, and writes its pid after.
for _ in {1..500}; do
  [ ! -s "$lab/sshd.pid" ] || break
  sleep 0.02
done
[ -s "$lab/sshd.pid" ] || { cat "$lab/sshd.log" >&2; cannot "sshd does not listen"; }

export LAB=1 LAB_PORT HOME=$lab/root TMPDIR=/tmp
# One fast key exchange instead of the default: a login takes a third of the time.
export LAB_SSH="ssh -F none -p $LAB_PORT -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none \
-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o KexAlgorithms=curve25519-sha256"
unset LAB_KEEP LAB_TREE SSH_AUTH_SOCK
cd "$from" 2>/dev/null || cd /

trap - ERR
# CMD is a child, not PID 1: PID 1 would ignore its own fatal signals. The namespace ends with this shell. Whoever starts the tests in
# the background or with nohup has them ignore signals, and with them whatever they start.
status=0
env --default-signal=HUP,INT,QUIT,TERM "$@" || status=$?
exit "$status"

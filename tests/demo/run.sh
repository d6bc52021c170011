#!/usr/bin/env bash
# run.sh [--program FILE] (`make demo`): publishes a key set in an embedded S3 endpoint, lets authkeysd bring it to a throw-away account, logs in
# through a real sshd, rotates the key, and shows that the new one works and the old one is refused.
#
# As root it runs on a private machine (tests/lab/enter.sh); where that is not permitted, with an account made by
# useradd for the time of the demo. As an ordinary user it runs an sshd of the user's own, and the file that it manages
# lies in a directory of its own in the user's home: ~/.ssh is neither read nor written. Nothing is left behind.
# --program names an authkeysd that is built already.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
dir='' made_user='' made_run_sshd='' reason=''
pids=()

fail() {
  reason=$*
  exit 1
}

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Ends what was started and removes what was made, however the demo ends.
clean_up() {
  local status=$? pid
  # The word on the failure is the only one: bash has things to say about children that a signal took with it.
  exec 3>&2 2>/dev/null
  trap '' INT TERM HUP
  trap - EXIT
  for pid in "${pids[@]}"; do
    kill "$pid" || true
    wait "$pid" || true
  done
  if [ -n "$made_user" ]; then
    userdel --remove "$made_user" >/dev/null || status=1 reason="could not remove the account $made_user"
  fi
  [ -z "$made_run_sshd" ] || rmdir /run/sshd || true
  if [ "$status" != 0 ] && [ -z "$reason" ]; then
    reason="stopped, or a command failed (status $status)"
    if [ -n "$dir" ] && [ -s "$dir/last" ]; then reason="$reason: $(tail -n 1 "$dir/last")"; fi
  fi
  [ -z "$dir" ] || rm -rf "$dir"
  if [ "$status" != 0 ]; then
    echo "demo: FAILED: $reason" >&3
    exit 1
  fi
}

# Shows a command and runs it; what it said last is kept for the word on a failure.
show() {
  printf '$ %s\n' "$*"
  "$@" 2>&1 | tee "$dir/last" | sed 's/^/  /'
}

wait_for() { # WHAT CONDITION...
  local what=$1 _
  shift
  for _ in $(seq 100); do
    ! "$@" || return 0
    sleep 0.05
  done
  fail "$what does not come up"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

listens() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1" 2>/dev/null; }

# The program as it sees nothing of the caller: no AWS credentials, no profile, no metadata service.
authkeysd() {
  env -i PATH="$PATH" HOME=/nonexistent LC_ALL=C.UTF-8 AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo \
    AWS_REGION=eu-west-1 AWS_ENDPOINT_URL_S3="http://127.0.0.1:$s3_port" AWS_CONFIG_FILE=/dev/null \
    AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true "$program" --config "$dir/config.toml" "$@"
}

new_key() {
  ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$dir/$1"
}

fingerprint() {
  ssh-keygen -l -f "$dir/$1.pub" | cut -d ' ' -f 2
}

# Publishes the demo's key set: SERIAL, the key in force, the keys revoked.
publish() {
  local serial=$1 key=$2 revoked='' old
  shift 2
  for old in "$@"; do revoked=${revoked:+$revoked, }"\"$(fingerprint "$old")\""; done
  cat >"$dir/new.json" <<END
{
  "version": 1,
  "name": "demo",
  "serial": $serial,
  "keys": [{"public_key": "$(cat "$dir/$key.pub")"}],
  "revoked": [$revoked]
}
END
  mv "$dir/new.json" "$dir/s3/demo-keys/workers.json"
  sed 's/^/  /' "$dir/s3/demo-keys/workers.json"
}

# Logs in with KEY; WANTED is what sshd shall say: accepted or refused.
login() {
  local key=$1 wanted=$2 status=0 answer
  env -u SSH_AUTH_SOCK ssh -F none -p "$ssh_port" -i "$dir/$key" -o BatchMode=yes -o IdentitiesOnly=yes \
    -o IdentityAgent=none -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$dir/known_hosts" \
    -o GlobalKnownHostsFile=/dev/null -o LogLevel=ERROR -o KexAlgorithms=curve25519-sha256 -o ConnectTimeout=10 \
    "$account@127.0.0.1" true </dev/null >"$dir/last" 2>&1 || status=$?
  if [ "$status" != 255 ]; then
    answer=accepted
  elif grep -q 'Permission denied' "$dir/last"; then
    answer=refused
  else
    fail "ssh: $(tail -n 1 "$dir/last")"
  fi
  printf '$ ssh -i %s %s@127.0.0.1\n  login with %s: %s\n' "$key" "$account" "$key" "$answer"
  [ "$answer" = "$wanted" ] || fail "the login with $key should have been $wanted; sshd says: $(
    grep -s 'Authentication refused' "$dir/sshd.log" | tail -n 1 || echo nothing)"
}

start_s3() {
  mkdir -p "$dir/s3/demo-keys"
  python3 "$here/s3.py" "$dir/s3" "$dir/s3.port" 2>"$dir/s3.log" &
  pids+=($!)
  wait_for 'the S3 endpoint' test -s "$dir/s3.port"
  s3_port=$(cat "$dir/s3.port")
}

# An sshd for this demo alone, by whoever runs it, on a free loopback port.
start_sshd() {
  local sshd
  sshd=$(command -v sshd)
  if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
    mkdir -m 0755 /run/sshd
    made_run_sshd=yes
  fi
  new_key host_key
  ssh_port=$(free_port)
  echo "[127.0.0.1]:$ssh_port $(cat "$dir/host_key.pub")" >"$dir/known_hosts"
  cat >"$dir/sshd_config" <<END
Port $ssh_port
ListenAddress 127.0.0.1
HostKey $dir/host_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserRC no
AuthorizedKeysFile ${file:-%h/.ssh/authorized_keys}
END
  if "$sshd" -T -f "$dir/sshd_config" 2>/dev/null | grep -q '^persourcepenalties'; then
    echo 'PerSourcePenalties no' >>"$dir/sshd_config"
  fi
  "$sshd" -D -f "$dir/sshd_config" -E "$dir/sshd.log" &
  pids+=($!)
  wait_for 'sshd' listens "$ssh_port"
}

story() {
  local real
  start_s3
  start_sshd
  new_key key-1
  new_key key-2
  mkdir -m 0700 "$dir/state" "$dir/run"
  cat >"$dir/config.toml" <<END
source      = "s3://demo-keys/workers.json"
state_dir   = "$dir/state"
runtime_dir = "$dir/run"

[[account]]
user = "$account"
END
  [ -z "$file" ] || echo "file = \"$file\"" >>"$dir/config.toml"
  real=${file:-%h/.ssh/authorized_keys}
  real=${real//%h/$home}

  say "A worker node: account $account, an sshd on port $ssh_port, and this configuration"
  sed 's/^/  /' "$dir/config.toml"

  say '1. Publish a key set with key-1 in s3://demo-keys/workers.json'
  publish 1 key-1

  say "2. Before authkeysd has run, the account knows no key"
  login key-1 refused

  say '3. Bring the node in line'
  show authkeysd sync
  login key-1 accepted
  login key-2 refused

  say '4. A second run finds nothing to do'
  show authkeysd sync
  echo "  (S3 answered: $(grep -o '" [0-9][0-9][0-9] ' "$dir/s3.log" | tr -d '" ' | paste -sd ' '))"

  say '5. Somebody puts a second copy of key-1 into the file by hand'
  echo "$ cat key-1.pub >>$real"
  cat "$dir/key-1.pub" >>"$real"

  say '6. Rotate: publish key-2, revoke key-1'
  publish 2 key-2 key-1

  say '7. What would change?'
  printf '$ authkeysd sync --dry-run\n'
  local status=0
  authkeysd sync --dry-run >"$dir/last" 2>&1 || status=$?
  sed 's/^/  /' "$dir/last"
  [ "$status" = 3 ] || fail "sync --dry-run: expected exit status 3 (changes to make), got $status"

  say '8. Bring the node in line again'
  show authkeysd sync
  login key-2 accepted
  login key-1 refused

  say '9. The file now'
  show cat "$real"
  ! grep -qF "$(cut -d ' ' -f 2 "$dir/key-1.pub")" "$real" || fail 'key-1 is still in the file'
}

build() {
  local target
  echo 'demo: building authkeysd; the first build takes some minutes'
  cd "$top"
  cargo build --locked --bin authkeysd --bin authkeysd-fetch || fail 'the build failed'
  target=$(cargo metadata --format-version 1 --no-deps --locked |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
  program=$target/debug/authkeysd
}

throw_away_account() {
  account=authkeysd-demo-$$
  echo "demo: $1; the account $account is made for the time of the demo"
  # '*' and not '!': sshd without PAM refuses a locked account.
  useradd --create-home --password '*' --shell /bin/sh "$account" || fail 'useradd failed'
  made_user=$account
}

main() {
  local cannot
  trap clean_up EXIT
  trap 'reason=interrupted; exit 130' INT TERM HUP
  file='' program=''
  if [ "${1:-}" = --program ] && [ $# = 2 ]; then
    program=$2
  elif [ $# -gt 0 ]; then
    fail 'usage: tests/demo/run.sh [--program FILE]'
  else
    "$top/tests/lab/setup.sh" demo || fail 'see the line above'
    build
  fi
  if [ "$(id -u)" != 0 ]; then
    account=$(id -un)
  elif [ -n "${LAB:-}" ]; then
    account=alice
  else
    LAB_KEEP=$(dirname "$(realpath "$program")")
    export LAB_KEEP
    # Tried first: after the exec only what runs in there can say how the demo ended.
    if cannot=$("$top/tests/lab/enter.sh" true 2>&1); then
      trap - EXIT INT TERM HUP
      exec "$top/tests/lab/enter.sh" "$here/run.sh" --program "$(realpath "$program")"
    fi
    throw_away_account "$(tail -n 1 <<<"$cannot")"
  fi
  umask 077
  home=$(getent passwd "$account" | cut -d : -f 6)
  if [ "$(id -u)" = 0 ]; then
    dir=$(mktemp -d "${TMPDIR:-/tmp}/authkeysd-demo-XXXXXX")
  else
    [ -w "$home" ] || fail "$home, the home of $account, cannot be written"
    dir=$(mktemp -d "$home/.authkeysd-demo-XXXXXX")
    file=%h/${dir##*/}/authorized_keys
  fi
  story
  say 'Done: one key set published, one login accepted, one key rotated, the old one refused. Nothing is left behind.'
}

main "$@"

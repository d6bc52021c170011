#!/usr/bin/env python3
"""many.py [--program AUTHKEYSD]: what many keys and many accounts cost: CPU of an unchanged poll, memory at rest and at the peak.

Needs root: the accounts are in a passwd file that only this run sees. The program is target/release/authkeysd, as for poll.py.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import signal
import subprocess
import sys

from poll import SECRET, Object, halves, milliseconds, places, print_row, pss, seconds_of, unit_environment, wait_for_calls

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FIRST_UID = 61_000
# The curve of Ed25519: y^2 = x^2 + 1 + D x^2 y^2 over the integers modulo P.
P = 2**255 - 19
D = -121_665 * pow(121_666, -1, P) % P
# Keys, accounts, polls, and the goals: milliseconds of CPU for a poll, MiB at rest, MiB at the peak.
ROWS = [(1_000, 1, 30, 3, None, None), (10, 100, 20, 20, None, None), (4_000, 100, 5, None, 25, 150)]


def point(y):
    """The point with this y, eight times itself: that is a public key. None where there is no such point."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    for _ in range(3):
        product = D * x * x * y * y % P
        x, y = 2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P
    return x, y


def key_lines(count):
    """So many public keys, a line each, the same ones in every run."""
    lines, number = [], 0
    while len(lines) < count:
        number += 1
        found = point(int.from_bytes(hashlib.sha256(str(number).encode()).digest(), "little") % P)
        if found is not None:
            x, y = found
            raw = (y | (x & 1) << 255).to_bytes(32, "little")
            blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + raw).decode()
            lines.append(f"ssh-ed25519 {blob} person{number}@example.org\n")
    return "".join(lines).encode()


def configure(place, runtime, accounts):
    """A configuration for accounts of its own, whose homes are made."""
    (place / "state").mkdir()
    passwd, tables = pathlib.Path("/etc/passwd").read_text(), ""
    for number in range(accounts):
        home = place / f"home{number}"
        home.mkdir()
        os.chown(home, FIRST_UID + number, FIRST_UID + number)
        passwd += f"bench{number}:x:{FIRST_UID + number}:{FIRST_UID + number}::{home}:/bin/sh\n"
        tables += f'[[account]]\nuser = "bench{number}"\n'
    (place / "passwd").write_text(passwd)
    subprocess.run(["mount", "--bind", place / "passwd", "/etc/passwd"], check=True)
    os.chmod(place, 0o755)
    config = place / "config.toml"
    config.write_text(
        f'source = "s3://keys/prod.keys"\nschedule = "1s"\nstate_dir = "{place}/state"\nruntime_dir = "{runtime}"\n{tables}'
    )
    return config


def measure(program, keys, accounts, polls):
    """Seconds of CPU for an unchanged poll by both processes, and MiB of authkeysd at rest and at its peak."""
    endpoint = Object(key_lines(keys))
    environment = SECRET | unit_environment() | {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with places() as (place, runtime):
        command = [program, "--config", configure(place, runtime, accounts), "run"]
        service = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_for_calls(service, endpoint, 4)
            both, first = halves(service.pid), len(endpoint.calls)
            before = [seconds_of(pid) for pid in both]
            wait_for_calls(service, endpoint, first + polls)
            spent = sum(seconds_of(pid) - start for pid, start in zip(both, before))
            status = pathlib.Path(f"/proc/{service.pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
            return spent / (len(endpoint.calls) - first), pss(service.pid), peak
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()
            subprocess.run(["umount", "/etc/passwd"], check=True)


def mebibytes(size, goal):
    text = f"{size:.1f} MiB"
    return text if goal is None else f"{text:12} goal: under {goal} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("AUTHKEYSD", TARGET / "release" / "authkeysd")
    parser.add_argument("--program", type=pathlib.Path, default=default, help="authkeysd, with authkeysd-fetch beside it")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("many.py: skipped: it makes accounts for itself, run it as root")
    if "AUTHKEYSD_BENCH" not in os.environ:
        # Mounts of its own.
        os.environ["AUTHKEYSD_BENCH"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    program = pathlib.Path(options.program).resolve()
    if not program.exists():
        sys.exit(f"many.py: {program} is not there: build it with `cargo build --release`, or name another with --program")
    for keys, accounts, polls, goal, rest, most in ROWS:
        poll, at_rest, peak = measure(program, keys, accounts, polls)
        print(f"{keys:,} keys, accounts: {accounts}")
        print_row("  CPU of an unchanged poll, both", milliseconds(poll, goal and f"under {goal} ms"))
        print_row("  memory at rest (PSS), authkeysd", mebibytes(at_rest, rest))
        print_row("  memory at the peak, authkeysd", mebibytes(peak, most))


if __name__ == "__main__":
    main()

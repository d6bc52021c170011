#!/usr/bin/env python3
"""poll.py [--program AUTHKEYSD] [--polls N]: what authkeysd costs, side by side with what people use instead, in one run.

All of them get the same object of ten keys from the same endpoint on this machine, in the environment that the unit sets. The table has the
CPU of an unchanged poll by both processes beside `aws s3 cp` and a signed GET by curl, the same in instructions (valgrind), which are the same
on every machine, the time from the start of `sync` to the finished file, the memory at rest, and what the benchmark of a plan of 4,096 keys
found (`cargo bench --bench plan`). A row whose tool is missing says so.
The program is target/release/authkeysd. Figures of a debug build mean nothing.
"""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
ETAG = '"0123456789abcdef0123456789abcdef"'
KEYS = 10
STARTS = 10
NOBODY = 65534
SECRET = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


class Object(http.server.ThreadingHTTPServer):
    """One object, for whoever asks, on connections that stay open as S3's do."""

    def __init__(self, body):
        super().__init__(("127.0.0.1", 0), Answer)
        self.body = body
        self.calls = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    """One connection to it."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(200, head=True)

    def do_GET(self):
        unchanged = self.headers.get("If-None-Match") == ETAG
        self.server.calls.append(unchanged)
        self.answer(304 if unchanged else 200, head=unchanged)

    def answer(self, status, head):
        self.send_response(status)
        self.send_header("ETag", ETAG)
        if status == 200:
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if not head:
            self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


def key_lines(place):
    """Ten public keys, a line each."""
    lines = []
    for number in range(KEYS):
        file = place / f"key-{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", file], check=True)
        lines.append(file.with_suffix(".pub").read_bytes())
    return b"".join(lines)


def seconds_of(pid):
    """CPU time of a process with all its threads, by the kernel's clock of it: /proc counts in hundredths of a second."""
    return time.clock_gettime((~pid << 3) | 2)


def pss(pid):
    """The process's share of memory, in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def unit_environment():
    """What the unit sets. Here the service starts the fetcher itself."""
    lines = (ROOT / "systemd" / "authkeysd.service").read_text().splitlines()
    settings = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    variables = dict(setting.split("=", 1) for setting in settings)
    variables.pop("AUTHKEYSD_FETCH_SOCKET", None)
    return variables


def halves(service):
    """The process ids of authkeysd and of the authkeysd-fetch that it has started."""
    children = pathlib.Path(f"/proc/{service}/task/{service}/children").read_text().split()
    return [service, int(children[0])]


def configure(place, runtime):
    """A configuration, and directories for it that are empty."""
    (place / "state").mkdir()
    config = place / "config.toml"
    config.write_text(
        f'source = "s3://keys/prod.keys"\nschedule = "1s"\nstate_dir = "{place}/state"\nruntime_dir = "{runtime}"\n'
        f'[[account]]\nfile = "{place}/authorized_keys"\n'
    )
    return config


@contextlib.contextmanager
def places():
    """Directories of one run: below /dev/shm a status file costs no disk, as below /run; state and keys are on one."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory(dir="/dev/shm") as runtime:
        yield pathlib.Path(directory), runtime


def measure_polls(program, polls, endpoint, environment):
    """CPU of an unchanged poll in seconds, and memory at rest in MiB: of authkeysd, and of authkeysd-fetch."""
    with places() as (place, runtime):
        command = [program, "--config", configure(place, runtime), "run"]
        service = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_for_calls(service, endpoint, len(endpoint.calls) + 5)
            both, first = halves(service.pid), len(endpoint.calls)
            before = [seconds_of(pid) for pid in both]
            wait_for_calls(service, endpoint, first + polls)
            spent = [seconds_of(pid) - start for pid, start in zip(both, before)]
            done = len(endpoint.calls) - first
            assert halves(service.pid) == both, "the fetcher was replaced"
            assert all(endpoint.calls[first:]), "not every poll was answered by 304"
            return [seconds / done for seconds in spent], [pss(pid) for pid in both]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()


def wait_for_calls(service, endpoint, number):
    while len(endpoint.calls) < number:
        if service.poll() is not None:
            sys.exit("poll.py: authkeysd ended; run `authkeysd sync` to see why")
        time.sleep(0.1)


def count_polls(program, polls, endpoint, environment):
    """Instructions of an unchanged poll, by both processes: those of a longer run less those of a shorter one."""
    (fewer, first), (more, second) = [count_run(program, length, endpoint, environment) for length in (5, 5 + polls)]
    return (second - first) / (more - fewer)


def count_run(program, polls, endpoint, environment):
    """How many polls there were until both processes were ended, and their instructions."""
    with places() as (place, runtime), tempfile.TemporaryDirectory() as counts, socket.socket(socket.AF_UNIX) as listener:
        path = f"{runtime}/socket"
        listener.bind(path)
        listener.listen()
        before = len(endpoint.calls)
        # As root it would become a user that cannot write the count: so it is started as such a user.
        os.chmod(counts, 0o777)
        user = NOBODY if os.geteuid() == 0 else None
        command = [*valgrind(counts), program.with_name("authkeysd-fetch")]
        fetcher = subprocess.Popen(command, env=environment, stdin=listener, stderr=subprocess.DEVNULL, user=user, group=user)
        command = [*valgrind(counts), program, "--config", configure(place, runtime), "run"]
        asking = environment | {"AUTHKEYSD_FETCH_SOCKET": path}
        service = subprocess.Popen(command, env=asking, stderr=subprocess.DEVNULL)
        try:
            wait_for_calls(service, endpoint, before + polls)
        finally:
            for process in (service, fetcher):
                process.send_signal(signal.SIGTERM)
                process.wait()
        return len(endpoint.calls) - before, counted(counts)


def valgrind(counts):
    """What a command is run by, so that the instructions of its processes are counted below a directory."""
    return ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={counts}/%p"]


def counted(counts):
    """The sum of what was counted below a directory. A process that became another program counted nothing."""
    total = 0
    for file in pathlib.Path(counts).iterdir():
        lines = file.read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("totals:"))
    return total


def count_command(command, environment):
    """Instructions of one run of a command; None where it is missing."""
    if command is None:
        return None
    with tempfile.TemporaryDirectory() as counts:
        subprocess.run([*valgrind(counts), *command], env=environment, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return counted(counts)


def measure_start(program, environment):
    """Seconds from the start of `sync` to the finished file, where there was none: the median."""
    times = []
    for _ in range(STARTS):
        with places() as (place, runtime):
            command = [program, "--config", configure(place, runtime), "sync"]
            begun = time.monotonic()
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while not (place / "authorized_keys").exists() and process.poll() is None:
                time.sleep(0.0005)
            times.append(time.monotonic() - begun)
            if process.wait() != 0:
                sys.exit("poll.py: authkeysd sync failed")
    return sorted(times)[len(times) // 2]


def measure_command(command, environment, runs):
    """Seconds of CPU for one run of a command, all its processes included; None where it is missing."""
    if command is None:
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs


def aws_command(copy):
    """The AWS CLI, installed once into target/bench where that is possible."""
    cli = TARGET / "bench" / "bin" / "aws"
    if not cli.exists():
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([sys.executable, "-m", "venv", TARGET / "bench"], check=True)
            subprocess.run([TARGET / "bench" / "bin" / "python", "-m", "pip", "install", "--quiet", "awscli"], check=True)
    return [cli, "s3", "cp", "--quiet", "s3://keys/prod.keys", copy] if cli.exists() else None


def curl_command(url, copy):
    """curl with a signed request; versions before 7.75 cannot sign."""
    curl = shutil.which("curl")
    if curl is None:
        return None
    known = subprocess.run([curl, "--help", "all"], capture_output=True, text=True, check=False).stdout
    if "--aws-sigv4" not in known:
        return None
    signed = ["--aws-sigv4", "aws:amz:eu-west-1:s3", "--user", ":".join(SECRET.values())]
    return [curl, "-q", "-fsS", *signed, "-o", copy, f"{url}/keys/prod.keys"]


def planned():
    """Seconds for a plan of 4,096 keys, as `cargo bench` has found them last; None where it has not run."""
    found = sorted((TARGET / "criterion").glob("plan*/**/4096/new/estimates.json"))
    if not found:
        return None
    return max(json.loads(file.read_text())["mean"]["point_estimate"] for file in found) / 1e9


def milliseconds(seconds, goal=None):
    text = f"{seconds * 1000:,.2f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"
    return text if goal is None else f"{text:12} goal: {goal}"


def print_row(name, text):
    print(f"{name:44} {text}")


def millions(instructions):
    return f"{instructions / 1e6:,.2f} million"


def print_peer(name, peer, poll, shown, goal, missing):
    """What another program takes for the same, and how often our poll goes into it."""
    if peer is None:
        print_row(name, f"skipped: {missing}")
    else:
        print_row(name, f"{shown(peer):15} a poll is 1/{peer / poll:,.1f} of it{goal}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("AUTHKEYSD", TARGET / "release" / "authkeysd")
    parser.add_argument("--program", type=pathlib.Path, default=default, help="authkeysd, with authkeysd-fetch beside it")
    parser.add_argument("--polls", type=int, default=100, help="how many polls are measured, one a second")
    options = parser.parse_args()
    program = pathlib.Path(options.program).resolve()
    if not program.exists():
        sys.exit(f"poll.py: {program} is not there: build it with `cargo build --release`, or name another with --program")
    if shutil.which("ssh-keygen") is None:
        sys.exit("poll.py: there is no ssh-keygen, which makes the keys: install the OpenSSH client")
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        endpoint = Object(key_lines(place))
        environment = SECRET | {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        ours = environment | unit_environment()
        start = measure_start(program, ours)
        (installer, fetcher), memory = measure_polls(program, options.polls, endpoint, ours)
        curl_line, aws_line = curl_command(endpoint.url, place / "copy"), aws_command(place / "copy")
        curl = measure_command(curl_line, environment, runs=50)
        aws = measure_command(aws_line, environment, runs=5)
        counts = None
        if shutil.which("valgrind"):
            counts = count_polls(program, 20, endpoint, ours), count_command(curl_line, environment), count_command(aws_line, environment)
    poll = installer + fetcher
    no_curl, no_aws = "no curl that can sign (7.75 or later)", "the AWS CLI is not there and cannot be installed"
    print(f"{program}, {options.polls} polls of {KEYS} keys")
    print_row("CPU of an unchanged poll, authkeysd", milliseconds(installer))
    print_row("CPU of an unchanged poll, authkeysd-fetch", milliseconds(fetcher))
    print_row("CPU of an unchanged poll, both", milliseconds(poll))
    print_peer("CPU of one curl --aws-sigv4", curl, poll, milliseconds, "", no_curl)
    print_peer("CPU of one aws s3 cp", aws, poll, milliseconds, "", no_aws)
    if counts is None:
        print_row("instructions", "skipped: valgrind is not installed")
    else:
        polled, curl, aws = counts
        print_row("instructions of an unchanged poll, both", millions(polled))
        print_peer("instructions of one curl --aws-sigv4", curl, polled, millions, "; goal: 1/6", no_curl)
        print_peer("instructions of one aws s3 cp", aws, polled, millions, "; goal: 1/600", no_aws)
    print_row("sync, from its start to the finished file", milliseconds(start, "under 100 ms"))
    print_row("memory at rest (PSS), authkeysd", f"{f'{memory[0]:.1f} MiB':12} goal: under 3 MiB")
    print_row("memory at rest (PSS), both", f"{f'{sum(memory):.1f} MiB':12} goal: under 9 MiB")
    plan = planned()
    if plan is None:
        print_row("plan of 4,096 keys", "skipped: run `cargo bench --bench plan` first")
    else:
        print_row("plan of 4,096 keys", milliseconds(plan, "under 15 ms"))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""poll.py [POLLS]: what an unchanged poll of S3 costs, side by side with `aws s3 cp` from cron on the same endpoint.

Prints memory at rest and CPU per poll of both halves, the CPU of one `aws s3 cp`, and their ratio. Needs a
release build; installs the AWS CLI into target/bench when it is not there.
"""

import http.server
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
AUTHKEYSD = pathlib.Path(os.environ.get("AUTHKEYSD", TARGET / "release" / "authkeysd"))
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh bench\n"
ETAG = '"0123456789abcdef0123456789abcdef"'
CALLS = []


class S3(http.server.BaseHTTPRequestHandler):
    """One object, for whoever asks, on connections that stay open as S3's do."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(200, head=True)

    def do_GET(self):
        unchanged = self.headers.get("If-None-Match") == ETAG
        CALLS.append(unchanged)
        self.answer(304 if unchanged else 200, head=unchanged)

    def answer(self, status, head):
        self.send_response(status)
        self.send_header("ETag", ETAG)
        if status == 200:
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
            self.send_header("Content-Length", str(len(KEY)))
        self.end_headers()
        if not head:
            self.wfile.write(KEY)

    def log_message(self, *_):
        pass


def aws():
    """The AWS CLI, installed once."""
    cli = TARGET / "bench" / "bin" / "aws"
    if not cli.exists():
        subprocess.run([sys.executable, "-m", "venv", TARGET / "bench"], check=True)
        subprocess.run([TARGET / "bench" / "bin" / "python", "-m", "pip", "install", "--quiet", "awscli"], check=True)
    return cli


def seconds_of(pid):
    """CPU time of a process with all its threads, by the kernel's clock of it: /proc counts in hundredths of a second."""
    return time.clock_gettime((~pid << 3) | 2)


def pss(pid):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def unit_environment():
    """What the unit sets. Here the service starts the fetcher itself."""
    lines = (ROOT / "systemd" / "authkeysd.service").read_text().splitlines()
    settings = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    variables = dict(setting.split("=", 1) for setting in settings)
    del variables["AUTHKEYSD_FETCH_SOCKET"]
    return variables


def halves(service):
    """The process ids of authkeysd and of the authkeysd-fetch that it has started."""
    children = pathlib.Path(f"/proc/{service}/task/{service}/children").read_text().split()
    return [service, int(children[0])]


def main():
    polls = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), S3)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Below /run a status file costs no disk; state and keys are on one.
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory(dir="/dev/shm") as runtime:
        place = pathlib.Path(directory)
        (place / "state").mkdir()
        (place / "config.toml").write_text(
            f'source = "s3://keys/prod.keys"\nschedule = "1s"\nstate_dir = "{place}/state"\nruntime_dir = "{runtime}"\n'
            f'[[account]]\nfile = "{place}/authorized_keys"\n'
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [AUTHKEYSD, "--config", place / "config.toml", "run"]
        service = subprocess.Popen(command, env=environment | unit_environment(), stderr=subprocess.DEVNULL)
        try:
            while len(CALLS) < 5:
                time.sleep(0.1)
            both = halves(service.pid)
            begun, before = len(CALLS), [seconds_of(pid) for pid in both]
            while len(CALLS) < begun + polls:
                time.sleep(0.1)
            spent = [seconds_of(pid) - start for pid, start in zip(both, before)]
            installer, fetcher = (seconds / (len(CALLS) - begun) for seconds in spent)
            assert halves(service.pid) == both, "the fetcher was replaced"
            assert all(CALLS[1:]), "not every poll was answered by 304"
            memory = [pss(pid) / 1024 for pid in both]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()
        runs, cli = 5, aws()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(runs):
            command = [cli, "s3", "cp", "--quiet", "s3://keys/prod.keys", place / "copy"]
            subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        copy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
    cpu = installer + fetcher
    print(f"after {polls} polls                        authkeysd  authkeysd-fetch  both")
    print(f"memory at rest (PSS)             {memory[0]:5.1f} MiB        {memory[1]:5.1f} MiB  {sum(memory):.1f} MiB")
    print(f"CPU of an unchanged poll         {installer * 1000:5.2f} ms         {fetcher * 1000:5.2f} ms   {cpu * 1000:.2f} ms")
    print(f"CPU of one aws s3 cp                                        {copy * 1000:.0f} ms")
    print(f"ratio                                                       1/{copy / cpu:.0f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""table.py [--program AUTHKEYSD] [--polls N]: the figures of docs/costs.md in one run, beside what people use instead.

Everything is measured on one endpoint on this machine: an unchanged poll by both processes, `aws s3 cp` and `curl --aws-sigv4` for the same
object, from the start of `sync` to the finished file, memory at rest, and the plan of 4,096 keys. A row whose tool is missing says so. The
program is target/release/authkeysd; figures of a debug build say nothing about a release.
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer

import poll

RUNS = 10


def measure_cpu(command, environment, runs=RUNS):
    """Seconds of CPU for one run of a command, all of its processes included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs


def measure_start(program, config, file, environment):
    """Seconds from the start of `sync` to the finished file, where nothing was before; the best of several."""
    best = None
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            place = pathlib.Path(directory)
            (place / "state").mkdir()
            changed = config.read_text().replace("STATE", f"{place}/state").replace("FILE", f"{place}/keys")
            (place / "config.toml").write_text(changed)
            begun = time.monotonic()
            command = [program, "--config", place / "config.toml", "sync"]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while not (place / "keys").exists() and process.poll() is None:
                time.sleep(0.0005)
            took = time.monotonic() - begun
            if process.wait() != 0:
                sys.exit("table.py: authkeysd sync failed, see above")
            best = min(took, best or took)
    return best


def measure_plan():
    """Seconds for a plan of 4,096 keys, as the benchmark of the core prints it; None where it was not built."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    command = [cargo, "bench", "--locked", "--bench", "plan"]
    printed = subprocess.run(command, cwd=poll.ROOT, capture_output=True, text=True, check=False).stdout
    found = re.search(r"4,?096 keys.*?([0-9.]+) ?(ms|µs)", printed)
    if found is None:
        return None
    return float(found[1]) / {"ms": 1e3, "µs": 1e6}[found[2]]


def curl_command(endpoint, copy):
    """curl with a signed GET of the same object; None where curl is missing or too old to sign."""
    curl = shutil.which("curl")
    if curl is None or "--aws-sigv4" not in subprocess.run([curl, "--help", "all"], capture_output=True, text=True).stdout:
        return None
    user = "AKIDEXAMPLE:not-a-secret"
    return [curl, "-q", "-fsS", "--aws-sigv4", "aws:amz:eu-west-1:s3", "--user", user, "-o", copy, f"{endpoint}/keys/prod.keys"]

#!/usr/bin/env python3
"""cold_start.py [STARTS]: how long the rotation function for Lambda takes from its start to its first call of AWS.

A runtime API and an AWS of its own stand in, both on loopback. Needs a release build of authkeys-rotate (or AUTHKEYS_ROTATE=FILE).
"""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = pathlib.Path(os.environ.get("AUTHKEYS_ROTATE", TARGET / "release" / "authkeys-rotate"))
EVENT = json.dumps({"SecretId": "prod/web", "ClientRequestToken": "t" * 32, "Step": "createSecret"}).encode()
LIMIT = 0.3


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Runtime(Quiet):
    """Hands out one event, and then nothing more."""

    def do_GET(self):
        if self.server.handed_out:
            self.server.over.wait()
            return
        self.server.handed_out = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(EVENT)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", "r-1")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:rotate")
        self.end_headers()
        self.wfile.write(EVENT)


class Aws(Quiet):
    """Notes the moment of the first call."""

    def do_POST(self):
        self.server.called = self.server.called or time.monotonic()
        self.server.first.set()
        self.close_connection = True
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """The program is killed in the middle of its calls."""


def serve(handler):
    server = Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handed_out, server.called = False, None
    server.first, server.over = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def start():
    """The seconds of one cold start."""
    runtime, aws = serve(Runtime), serve(Aws)
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "rotate",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "g",
        "AWS_LAMBDA_LOG_STREAM_NAME": "s",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.server_port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TARGET": "s3://keys/web.json",
        "FILTER": "tag:RotateSSHKeys=True",
    }
    begun = time.monotonic()
    with subprocess.Popen([PROGRAM], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        called = aws.first.wait(30)
        child.kill()
    runtime.over.set()
    runtime.shutdown()
    aws.shutdown()
    if not called:
        sys.exit("cold_start: it made no call of AWS in 30 seconds")
    return aws.called - begun


def main():
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    if not PROGRAM.exists():
        sys.exit(f"cold_start: {PROGRAM} is missing: cargo build --release --bin authkeys-rotate")
    took = sorted(start() for _ in range(starts))
    middle = took[len(took) // 2]
    print(f"from start to the first call of AWS, {starts} starts: median {middle * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms")
    if middle >= LIMIT:
        sys.exit(f"cold_start: more than {LIMIT * 1000:.0f} ms")


main()

#!/usr/bin/env python3
"""s3.py ROOT PORT_FILE: a small S3 endpoint for the demo, on a free loopback port, which PORT_FILE then holds.

Serves ROOT/BUCKET/KEY for path-style GET and HEAD, with ETag and 304 on If-None-Match. Publishing is writing the file.
Signatures are not checked. One line for each request goes to standard error.
"""

import email.utils
import hashlib
import http.server
import os
import sys
import urllib.parse

ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{0}</Code><Message>{0}</Message><RequestId>demo</RequestId></Error>'


class S3(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "demo-s3"

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        file = os.path.realpath(self.server.root + path)
        if not file.startswith(self.server.root + os.sep) or not os.path.isfile(file):
            return self.answer(404, ERROR.format("NoSuchKey").encode(), {"Content-Type": "application/xml"})
        with open(file, "rb") as opened:
            body = opened.read()
            changed = email.utils.formatdate(os.fstat(opened.fileno()).st_mtime, usegmt=True)
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Last-Modified": changed}
        if headers["ETag"] in self.headers.get("If-None-Match", ""):
            return self.answer(304, None, headers)
        return self.answer(200, body, {**headers, "Content-Type": "binary/octet-stream"})

    do_HEAD = do_GET

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "x-amz-request-id": "demo"}.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)


def main():
    root, port_file = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), S3)
    server.root = os.path.realpath(root)
    with open(port_file + ".new", "w") as opened:
        opened.write(f"{server.server_address[1]}\n")
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()

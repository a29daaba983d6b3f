"""A real S3 server on 127.0.0.1 for tests: moto's, in a child process, so that it can be stopped and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class S3:
    """A server that runs, and the buckets that tests make in it."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, prefix: str = "", key: str = "key", secret: str = "secret") -> str:
        """Make a fresh bucket; its `storage_url`."""
        name = f"exhibits-{os.urandom(6).hex()}"
        self.send("PUT", name)
        place = f"{name}/{prefix}" if prefix else name
        return f"s3://{key}:{secret}@127.0.0.1:{self.port}/{place}?tls=no"

    def send(self, method: str, path: str, data: bytes = b"") -> bytes:
        """A request as anybody could send it, past our own code."""
        # The server looks whether a request is signed, and not by whom.
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=other/20261122/us-east-1/s3/aws4_request"}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, data=data, headers=signed)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def kill(self) -> None:
        """As when its machine loses power."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def s3_server(**environment: str) -> Iterator[S3]:
    """Start a server on a free port. It keeps everything in memory and is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise RuntimeError("The S3 server did not start.")
        # It logs each request; somebody must take that, or it waits.
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield S3(int(found[1]), process)
        process.kill()
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()

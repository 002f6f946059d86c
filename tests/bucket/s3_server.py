"""A real S3 server (versitygw) of a test's own, with one bucket."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import parts

from vllmperf.bucket.client import connected

ACCESS, SECRET = "test-access", "test-secret-6f1e"
BUCKET = "results"
LIMIT_S = 60


class Server:
    """versitygw over a folder, with one bucket. Objects are plain files below it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._program, self._port = parts.program("versitygw"), port
        self.folder, self.endpoint = folder, f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        self.start()
        with connected(self.endpoint) as client:
            client.create_bucket(Bucket=BUCKET)

    def start(self) -> None:
        environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
        words = [self._program, "--port", f"127.0.0.1:{self._port}", "posix", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + LIMIT_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the S3 server does not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urlopen(self.endpoint, timeout=5).close()
        except HTTPError as error:  # it wants credentials
            error.close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None

    def objects(self) -> dict[str, bytes]:
        """What is in the bucket, by key."""
        with connected(self.endpoint) as client:
            found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
            return {one["Key"]: self._content(client, one["Key"]) for one in found}

    def _content(self, client, key: str) -> bytes:
        with client.get_object(Bucket=BUCKET, Key=key)["Body"] as body:
            return body.read()

    def begun(self) -> list[str]:
        """Keys of uploads in parts that have not ended."""
        with connected(self.endpoint) as client:
            return [one["Key"] for one in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

"""Stores on this machine for models: a real S3 server, and web servers."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer


class Bucket:
    """A bucket ``models`` on an S3 server, whose requests can be seen; for one test at a time.

    ``port`` 0 is a free one.
    """

    name = "models"

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self._requests = _Requests()
        self._is_open = True

    def __enter__(self) -> Self:
        moto_api_backend.reset()
        self._server.start()
        logger = logging.getLogger("werkzeug")
        logger.setLevel(logging.INFO)
        logger.addHandler(self._requests)
        self.client.create_bucket(Bucket=self.name)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("werkzeug").removeHandler(self._requests)
        self.close()

    def close(self) -> None:
        """Be a server that is not there."""
        if self._is_open:
            self._is_open = False
            self._server.stop()

    @property
    def port(self) -> int:
        return int(self._server.get_host_and_port()[1])

    @property
    def environment(self) -> dict[str, str]:
        """How a server is told where it is and who it is to it."""
        return environment(self.port)

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106 - nobody's
            region_name="us-east-1",
        )

    def upload(self, folder: Path) -> None:
        """Put every file of a folder, under its own name in there."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(str(file.relative_to(folder)), file.read_bytes())

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    @property
    def fetched(self) -> list[str]:
        """The keys that were read, in that order."""
        start = f'"GET /{self.name}/'
        lines = [line.partition(start)[2].split(" ")[0] for line in self._requests.lines]
        return [key for key in lines if key and not key.startswith("?")]


class Gcs:
    """As much of Google Cloud Storage's JSON API as reading a bucket takes, over these objects.

    There is no such server to install; what is answered follows its reference
    (cloud.google.com/storage/docs/json_api/v1/objects). Objects come a tenth at a time, each
    ``pause_s`` after the one before. With ``refusal`` all is answered with that status.
    """

    def __init__(
        self, objects: dict[str, bytes], pause_s: float = 0.0, refusal: int | None = None
    ) -> None:
        self.objects = objects
        handler = partial(_GcsHandler, objects, pause_s, refusal)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"STORAGE_EMULATOR_HOST": url, "FSSPEC_GS_TOKEN": "anon"}


class _GcsHandler(BaseHTTPRequestHandler):
    def __init__(
        self, objects: dict[str, bytes], pause_s: float, refusal: int | None, *arguments: Any
    ) -> None:
        self._objects = objects
        self._pause_s = pause_s
        self._refusal = refusal
        super().__init__(*arguments)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, _, key = url.path.partition("/o/")
        prefix = parse_qs(url.query).get("prefix", [""])[0]
        if self._refusal is not None:
            self.send_error(self._refusal)
        elif not key:
            items = [self._row(one) for one in self._objects if one.startswith(prefix)]
            self._say(json.dumps({"kind": "storage#objects", "items": items}).encode())
        elif unquote(key) not in self._objects:
            self.send_error(404)
        elif "media" in url.query:
            self._say(self._objects[unquote(key)], self._pause_s)
        else:
            self._say(json.dumps(self._row(unquote(key))).encode())

    def _row(self, key: str) -> dict[str, Any]:
        content = self._objects[key]
        digest = hashlib.sha256(content).hexdigest()
        return {"kind": "storage#object", "name": key, "size": str(len(content)), "etag": digest}

    def _say(self, content: bytes, pause_s: float = 0.0) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        size = -(-len(content) // 10) or 1
        for start in range(0, len(content), size):
            time.sleep(pause_s)
            self.wfile.write(content[start : start + size])

    def log_message(self, *_: Any) -> None:
        """Tests have no use for it."""


class _Requests(logging.Handler):
    """Every request that a server of werkzeug's has logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def environment(port: int) -> dict[str, str]:
    """What tells a server of an S3 server on this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


class Web:
    """A web server of the standard library over a folder; ``stalled`` files stop half way."""

    def __init__(self, folder: Path) -> None:
        self.stalled = ""
        self.fetched: list[str] = []
        self.half_sent = threading.Event()
        self._go_on = threading.Event()
        handler = partial(_Handler, self, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def go_on(self) -> None:
        """Stall nothing any more."""
        self.stalled = ""
        self._go_on.set()

    def send(self, path: str, content: bytes) -> Iterator[bytes]:
        """What to send of a file, and when."""
        self.fetched.append(path)
        half = len(content) // 2
        yield content[:half]
        if self.stalled and path.endswith(self.stalled):
            self.half_sent.set()
            self._go_on.wait(60)
        yield content[half:]


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, web: Web, *arguments: Any, **options: Any) -> None:
        self._web = web
        super().__init__(*arguments, **options)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        is_index = self.path.endswith("/")
        for part in [content] if is_index else self._web.send(self.path, content):
            outputfile.write(part)
            outputfile.flush()

    def log_message(self, *_: Any) -> None:
        """Tests have no use for it."""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

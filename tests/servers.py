"""Servers on the loopback address for tests: S3 (by moto) and read-only files over HTTP.

They keep account of what was asked of them, can go away in the middle of an answer, and come back with what they held.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import ThreadedWSGIServer

SECRET = "ThisSecretMustNeverBeShown"

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
"""What a client of `s3` needs; a server that is gone is given up after seconds instead of a minute."""


@dataclass(frozen=True)
class Answer:
    """One request and what was sent back, in bytes without headers."""

    method: str
    path: str
    status: int
    sent: int


class _Server(ThreadedWSGIServer):
    """Knows its open connections, so that they can be cut."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, app: WSGIApplication) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__("127.0.0.1", port, app, handler=_Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)


class _Handler(MotoRequestHandler):
    timeout = 30

    def log(self, type: str, message: str, *args: Any) -> None:
        """Quiet: `Server.answers` says it all."""


class Server:
    """Serves ``app``; use it as a context. ``answers`` are those given since it was last cleared."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._port = 0
        self._left: int | None = None
        self._method: str | None = None
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self.answers: list[Answer] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer requests, after `stop` at the same address as before."""
        self._left = None
        self._server = _Server(self._port, self._counted)
        self._port = self._server.port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and cut the open ones, in any state."""
        with self._lock:
            server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in list(server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_after(self, requests: int, method: str | None = None) -> None:
        """Answer so many more requests (of that method), send half of the answer to the next such one, and be gone."""
        with self._lock:
            self._left, self._method = requests, method

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _counted(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            counts = self._method is None or environ["REQUEST_METHOD"] == self._method
            last = self._left == 0 and counts
            if self._left is not None and (counts or self._left < 0):
                self._left -= 1
            if last or (self._left is not None and self._left < 0):
                start_response = _announce_more(start_response)
        status = ""

        def begin(line: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            nonlocal status
            status = line
            return start_response(line, headers, *rest)

        body = b"".join(self._app(environ, begin))
        if self._left is not None and self._left < 0:
            return self._break_off(body)
        answer = Answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], int(status.split()[0]), len(body))
        self.answers.append(answer)
        return [body]

    def _break_off(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        self.stop()


def _announce_more(start_response: StartResponse) -> StartResponse:
    """Promise a longer answer than comes, so that a client cannot take what was cut off for all of it."""

    def announce(line: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
        return start_response(line, [*kept, ("Content-Length", str(sum(lengths) + 64))], *rest)

    return announce


@contextlib.contextmanager
def s3(*buckets: str) -> Iterator[Server]:
    """An S3 server with empty buckets. What it holds lives in this process: it survives `Server.stop`."""
    with Server(DomainDispatcherApplication(create_backend_app)) as server:
        # What an earlier server of this process held is still there.
        steps = [("POST", "moto-api/reset"), *(("PUT", bucket) for bucket in buckets)]
        for method, path in steps:
            request = urllib.request.Request(f"{server.url}/{path}", method=method)
            urllib.request.urlopen(request, timeout=30).close()
        server.answers.clear()
        yield server


def files(folder: Path, *, ranges: bool = True) -> Server:
    """A read-only server of the files below ``folder``, with or without requests for ranges of bytes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Content-Length", "0")])
            return []
        path = (folder / environ["PATH_INFO"].lstrip("/")).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        data = path.read_bytes()
        size, line, headers = len(data), "200 OK", []
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", environ.get("HTTP_RANGE", ""))
        if ranges and asked:
            first, last = asked.groups()
            start = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            if start >= size:
                start_response("416 Range Not Satisfiable", [("Content-Length", "0")])
                return []
            data, line = data[start:end], "206 Partial Content"
            headers = [("Content-Range", f"bytes {start}-{end - 1}/{size}")]
        start_response(line, [("Content-Length", str(len(data))), *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [data]

    return Server(app)

"""A local imitation of the Hugging Face hub: enough of it for `hf_hub_download`, with faults on demand.

    with FakeHub({"org/tagger": {"model.onnx": b"…", "selected_tags.csv": b"…"}}) as hub:
        hub.fault("*/model.onnx", method="GET", cut=50_000)   # the next GET is cut after 50,000 bytes
        environment = hub.env(tmp_path)                       # HF_ENDPOINT, HF_HOME … for a child process
        hub.log                                               # [(method, path, Range header, status, bytes sent)]

A fault is matched by a glob on "ORG/NAME/FILE" and a method (None: any), and used up after `times`:

    status=N, code="GatedRepo", retry_after=S   answer with an error (X-Error-Code, as the hub does)
    cut=N         close the socket after N bytes of the body (Content-Length still promises all)
    stall=S, at=N say nothing for S seconds after N bytes
    rate=N        send N bytes a second
    flip=True     right length, wrong bytes
    no_range=True answer 200 with everything to a Range request
    etag=TEXT     another checksum than the file's

Files over `lfs` bytes answer 302 to /cdn/ on another host name with X-Linked-Size and X-Linked-Etag (SHA-256), as files
in LFS do; others have the git blob hash as ETag. Private repositories: `FakeHub(…, private={"org/name": "hf_token"})`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"


@dataclass(slots=True)
class Fault:
    """One kind of trouble, `times` times."""

    glob: str
    method: str | None
    times: int
    what: dict[str, Any]


class FakeHub:
    """A hub with these repositories (name → file → content) on a free port of the loopback."""

    def __init__(
        self, repos: Mapping[str, Mapping[str, bytes]], *, private: Mapping[str, str] | None = None, lfs: int = 10_000
    ) -> None:
        self.repos = {name: dict(files) for name, files in repos.items()}
        self.private = dict(private or {})
        self.lfs = lfs
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, str | None, int, int]] = []
        self.cdn_tokens: set[str] = set()
        """What was sent along to the other host, which needs none."""
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                return None

            def do_GET(self) -> None:
                hub._handle(self, "GET")

            def do_HEAD(self) -> None:
                hub._handle(self, "HEAD")

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                return None

        self._server = Server((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._cdn = self.url.replace(HOST, "localhost")  # another host, as the real CDN is

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def env(self, home: Path) -> dict[str, str]:
        """The environment of a child that shall use this hub and keep its cache in `home`."""
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE"))}
        return kept | {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": f"{HOST},localhost"}

    def fault(self, glob: str, *, method: str | None = None, times: int = 1, **what: Any) -> None:
        """The next `times` matching requests go wrong in the way described above."""
        self.faults.append(Fault(glob, method, times, what))

    def sent(self, name: str, method: str = "GET") -> list[tuple[str, str, str | None, int, int]]:
        """What was answered to requests for a file, redirects left out."""
        return [entry for entry in self.log if entry[0] == method and entry[1].endswith(name) and entry[3] != 302]

    def _take(self, key: str, method: str) -> dict[str, Any]:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (None, method) and fnmatch.fnmatch(key, fault.glob):
                    fault.times -= 1
                    return fault.what
        return {}

    def _handle(self, request: BaseHTTPRequestHandler, method: str) -> None:
        try:
            self._answer(request, method)
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True

    def _answer(self, request: BaseHTTPRequestHandler, method: str) -> None:
        parts = unquote(urlsplit(request.path).path).strip("/").split("/")
        is_cdn = parts[0] == "cdn"
        parts = parts[1:] if is_cdn else parts
        if len(parts) < 5 or parts[2] != "resolve":
            self._error(request, method, 404, "RepoNotFound")
            return
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        fault = self._take(f"{repo}/{name}", method)
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if is_cdn and token:
            self.cdn_tokens.add(token)
        if "status" in fault:
            self._error(request, method, fault["status"], fault.get("code", ""), fault.get("retry_after"))
        elif repo not in self.repos:
            self._error(request, method, 401, "RepoNotFound")  # the hub says 401 to hide private ones
        elif not is_cdn and self.private.get(repo, token) != token:
            self._error(request, method, 401, "GatedRepo" if token else "RepoNotFound")
        elif revision not in ("main", self.commit(repo)):
            self._error(request, method, 404, "RevisionNotFound")
        elif name not in self.repos[repo]:
            self._error(request, method, 404, "EntryNotFound")
        else:
            self._file(request, method, repo, name, fault, is_cdn)

    def _file(
        self, request: BaseHTTPRequestHandler, method: str, repo: str, name: str, fault: dict[str, Any], is_cdn: bool
    ) -> None:
        body = self.repos[repo][name]
        is_large = len(body) > self.lfs
        digest = hashlib.sha256(body) if is_large else hashlib.sha1(b"blob %d\0" % len(body) + body)
        etag = f'"{fault.get("etag") or digest.hexdigest()}"'
        headers = {"X-Repo-Commit": self.commit(repo), "ETag": etag, "Accept-Ranges": "bytes"}
        if is_large and not is_cdn:
            place = f"{self._cdn}/cdn/{repo}/resolve/main/{name}"
            headers |= {"X-Linked-Size": str(len(body)), "X-Linked-Etag": etag, "Location": place}
            if method == "HEAD" or not fault.keys() - {"etag"}:
                self._reply(request, method, 302, b"", headers)
                return
        if fault.get("flip"):
            body = bytes(byte ^ 0xFF for byte in body[:64]) + body[64:]
        status, data, wanted = 200, body, request.headers.get("Range")
        if wanted and not fault.get("no_range"):
            start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
            status, data = 206, body[start:]
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        request.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            request.send_header(key, value)
        request.end_headers()
        sent = 0 if method == "HEAD" else self._send(request, data, fault)
        self.log.append((method, request.path, wanted, status, sent))

    def _send(self, request: BaseHTTPRequestHandler, data: bytes, fault: dict[str, Any]) -> int:
        rate, limit, sent = fault.get("rate", 0), min(len(data), fault.get("cut", len(data))), 0
        step = max(1, min(65536, rate // 20 if rate else 65536))
        stall_at = fault.get("at", 0) if fault.get("stall") else None
        while sent < limit:
            if stall_at is not None and sent >= stall_at:
                request.wfile.flush()
                time.sleep(fault["stall"])
                stall_at = None
            request.wfile.write(data[sent : min(sent + step, limit)])
            sent = min(sent + step, limit)
            if rate:
                time.sleep(step / rate)
        if limit < len(data):
            request.wfile.flush()
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
        return sent

    def _reply(
        self, request: BaseHTTPRequestHandler, method: str, status: int, body: bytes, headers: Mapping[str, str]
    ) -> None:
        request.send_response(status)
        for key, value in (dict(headers) | {"Content-Length": str(len(body))}).items():
            request.send_header(key, value)
        request.end_headers()
        if method != "HEAD":
            request.wfile.write(body)
        self.log.append((method, request.path, request.headers.get("Range"), status, 0))

    def _error(
        self, request: BaseHTTPRequestHandler, method: str, status: int, code: str, retry_after: float | None = None
    ) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "application/json"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        self._reply(request, method, status, json.dumps({"error": code or str(status)}).encode(), headers)

    def commit(self, repo: str) -> str:
        """The commit that `main` of a repository means now."""
        digest = hashlib.sha1()
        for name, body in sorted(self.repos[repo].items()):
            digest.update(name.encode() + hashlib.sha256(body).digest())
        return digest.hexdigest()

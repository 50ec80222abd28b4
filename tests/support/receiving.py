"""A web server on this machine that receives messages, and answers as a test says."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Mailbox:
    """What was received; each request gets the next answer of `answers`, the last one for ever.

    Attributes:
        let_go: answers of 0 wait for it.
    """

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    keys: list[str] = field(default_factory=list[str])
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    paths: list[str] = field(default_factory=list[str])
    let_go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> int:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]


@contextmanager
def mailbox(*answers: int, tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """A running server; 0 never answers, 302 leads to another path of the same server."""
    box = Mailbox(answers=list(answers) or [200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = box.answer()
            with box.lock:
                box.keys.append(self.headers["idempotency-key"])
                box.bodies.append(body)
                box.paths.append(self.path)
            if not status:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
                box.let_go.wait()
                return
            self.send_response(status)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    box.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/hook/SECRET-PATH"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield box
    finally:
        box.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""A proxy between a client and PostgreSQL, which does to the wire what networks do.

The server of the tests listens on a socket of the file system; the proxy gives it a TCP port.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from servers import Server
from sqlalchemy import make_url

BYTES = 1 << 16


@dataclass
class Cut:
    """Drops the connection on which a client sends `marker`.

    Attributes:
        passed: the server has done it, and its answer is what is lost; else it never hears of it.
        left: how many times; the proxy counts it down.
    """

    marker: bytes
    passed: bool
    left: int = 1


@dataclass
class Wire:
    """A client's connection, and its connection to the server."""

    client: socket.socket
    server: socket.socket
    flows: threading.Event
    cut_at_answer: bool = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Forwards what passes; can hold it, and can cut it."""

    def __init__(self, server: Server) -> None:
        url = make_url(server.url("postgres"))
        self._target = str(Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wires: list[Wire] = []
        self._flows = threading.Event()
        self._flows.set()
        self.cut: Cut | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, url: str) -> str:
        """The address of one of the server's databases, by way of the proxy."""
        port = self._listener.getsockname()[1]
        inner = make_url(url).set(host="127.0.0.1", port=port, query={})
        return inner.render_as_string(hide_password=False)

    def hold(self) -> None:
        """Nothing passes any more, on any connection; none is closed, and new ones are accepted."""
        self._flows.clear()
        for wire in self._wires:
            wire.flows.clear()

    def flows(self) -> bool:
        """Whether it forwards what comes on a new connection."""
        return self._flows.is_set()

    def let_go(self) -> None:
        """Connections that come from now on are forwarded; those that were held stay so."""
        self._flows.set()

    def resume(self) -> None:
        """What was held arrives after all, late."""
        self._flows.set()
        for wire in self._wires:
            wire.flows.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
        self._listener.close()
        for wire in self._wires:
            wire.close()
            wire.flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.socket(socket.AF_UNIX)
            flows = threading.Event()
            if self._flows.is_set():
                flows.set()
            wire = Wire(client, server, flows)
            self._wires.append(wire)
            try:
                server.connect(self._target)
            except OSError:  # the server is away
                wire.close()
                continue
            for target in (self._to_server, self._to_client):
                threading.Thread(target=target, args=(wire,), daemon=True).start()

    def _to_server(self, wire: Wire) -> None:
        for data in _received(wire.client, wire):
            cut = self.cut
            if cut is not None and cut.left and cut.marker in data:
                cut.left -= 1
                if not cut.passed:
                    break
                wire.cut_at_answer = True
            if not _sent(wire.server, data):
                break
        wire.close()

    def _to_client(self, wire: Wire) -> None:
        for data in _received(wire.server, wire):
            if wire.cut_at_answer or not _sent(wire.client, data):
                break
        wire.close()


def _received(end: socket.socket, wire: Wire) -> Iterator[bytes]:
    """What arrives at one end, each piece once it may pass; also the end of it has to wait."""
    while True:
        try:
            data = end.recv(BYTES)
        except OSError:
            data = b""
        wire.flows.wait()
        if not data:
            return
        yield data


def _sent(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


@contextmanager
def proxied(server: Server) -> Iterator[Proxy]:
    """A proxy before a running server, gone afterwards with all its connections."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()

"""Connections to the dashboard that send no whole request: they are closed, and lock nobody out."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from command import environment
from patience import HANG, MOMENT

# A page behind the real server; argv: what to set in the gate.
SERVER = """
import json, sys
from sweeper import dashboard
async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})
for name, value in json.loads(sys.argv[1]).items():
    setattr(dashboard, name, value)
with dashboard.listen("127.0.0.1", 0) as listener:
    port = listener.getsockname()[1]
    print(port, flush=True)
    dashboard.serve(dashboard.ReadOnlyApp(page, port=port), listener)
"""
HALF = "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Slow: "


def served(**settings: float) -> Iterator[int]:
    """The port of a server that ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(settings)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def patient() -> Iterator[int]:
    """A server that closes nothing by its time limit."""
    yield from served(HEADER_SECONDS=HANG)


@pytest.fixture
def hasty() -> Iterator[int]:
    """A server with a short time limit."""
    yield from served(HEADER_SECONDS=MOMENT)


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=HANG)


def begun(port: int) -> socket.socket:
    """A connection that has sent half a request."""
    made = opened(port)
    made.sendall(HALF.format(port=port).encode())
    return made


def ended(connection: socket.socket) -> bool:
    """Whether the server closes the connection, for which this waits."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def asked(connection: socket.socket, port: int) -> bytes:
    """The answer to a whole request; the connection stays open."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        part = connection.recv(4096)
        assert part, got
        got += part
    return got


def test_two_hundred_half_open_requests_lock_nobody_out(patient: int) -> None:
    """The page is served, although no time limit helps; the oldest are closed."""
    with ExitStack() as stack:
        slow = [stack.enter_context(begun(patient)) for _ in range(200)]
        with opened(patient) as asking:
            assert b"the page" in asked(asking, patient)
        assert all(ended(one) for one in slow[:150])


def test_connections_that_send_nothing_lock_nobody_out(patient: int) -> None:
    """Not a byte is the slowest header."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(opened(patient))
        with opened(patient) as asking:
            assert b"the page" in asked(asking, patient)


def test_a_request_that_never_ends_is_closed(hasty: int) -> None:
    """This holds if a part of the request has come, or nothing, or a whole request before it."""
    with begun(hasty) as half, opened(hasty) as silent, opened(hasty) as again:
        assert b"the page" in asked(again, hasty)
        again.sendall(HALF.format(port=hasty).encode())
        assert ended(half)
        assert ended(silent)
        assert ended(again)


def test_a_browsers_connection_serves_many_requests(patient: int) -> None:
    """A connection after a request is not a connection that waits for its first request."""
    with opened(patient) as asking:
        for _ in range(3 * 16):
            assert b"the page" in asked(asking, patient)

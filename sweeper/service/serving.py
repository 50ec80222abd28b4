"""The processes of `sweeper serve`: the API, the supervisor, and their parent, which keeps both.

A process that ends by itself is started again. Drivers are no children of the
parent: they outlive every one of the three, and the next supervisor finds them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sweeper.errors import InputError
from sweeper.service.drivers import SWEEPER

LOOPBACK = ("127.0.0.1", "localhost", "::1")
AGAIN_SECONDS = (0.5, 30.0)  # before a process that has ended starts again
DRAIN_SECONDS = 600.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the API listens, and by which names its users reach it.

    Attributes:
        behind_proxy: the host name under which a proxy offers it over TLS; empty without one.
        certificate, key: files for TLS of its own.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    behind_proxy: str = ""
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Refuses to be reached from elsewhere without TLS.

        Raises:
            InputError: it would.
        """
        if (self.certificate is None) != (self.key is None):
            raise InputError("--tls-certificate and --tls-key go together")
        for option, path in (("--tls-certificate", self.certificate), ("--tls-key", self.key)):
            if path is not None and not path.is_file():
                raise InputError(f"{option}: {path}: no such file")
        if self.host not in LOOPBACK and not (self.certificate or self.behind_proxy):
            raise InputError(
                f"--host: {self.host!r} can be reached from elsewhere: tokens would cross the "
                "network readable; give --tls-certificate and --tls-key, or --behind-proxy NAME"
            )

    @property
    def secure(self) -> bool:
        """Whether users reach it over TLS."""
        return bool(self.certificate or self.behind_proxy)

    def hosts(self, port: int) -> frozenset[str]:
        """The values of the Host header that name this server."""
        if self.behind_proxy:
            return frozenset({self.behind_proxy.lower()})
        names = {"127.0.0.1", "localhost", "[::1]"}
        if self.host not in LOOPBACK:
            names |= {self.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        return frozenset(f"{name}:{port}" for name in names)

    def listen(self) -> socket.socket:
        """A listening socket; port 0 takes any free port.

        Raises:
            InputError: the address cannot be used.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1" if self.host == "localhost" else self.host, self.port))
            listener.listen(128)
        except (OSError, OverflowError) as error:
            listener.close()
            raise InputError(
                f"--port: {self.host}:{self.port} cannot be used ({error}); 0 takes a free port"
            ) from error
        listener.set_inheritable(True)
        return listener


class Parent:
    """Keeps child processes running until it is told to end.

    Args:
        commands: the words after `sweeper` of each child, by its name.
        passed: file descriptors that children inherit.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        passed: Sequence[int] = (),
        say: Callable[[str], None],
    ) -> None:
        self._commands, self._passed, self._say = commands, tuple(passed), say
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._signals = 0  # a plain number: a signal's handler must take no lock

    def run(self) -> None:
        """Returns when it was told to end and the children have ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may be closed
        while not self._signals:
            for name in self._commands:
                self._keep(name)
            time.sleep(POLL_SECONDS)
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        until = time.monotonic() + DRAIN_SECONDS
        while any(child.poll() is None for child in self._children.values()):
            if self._signals > 1 or time.monotonic() > until:
                for child in self._children.values():
                    child.kill()
            time.sleep(POLL_SECONDS)

    def _keep(self, name: str) -> None:
        """Starts a child that does not run; after an early end it waits, longer each time."""
        child, now = self._children.get(name), time.monotonic()
        if child is not None:
            if child.poll() is None:
                return
            shortest, longest = AGAIN_SECONDS
            ran = now - self._started[name]
            if name not in self._waits or ran > 2 * longest:
                self._waits[name] = shortest
            if ran < self._waits[name]:
                return
            self._waits[name] = min(2 * self._waits[name], longest)
            self._say(f"the {name} ended with {child.returncode}; it starts again")
        self._started[name] = now
        self._children[name] = subprocess.Popen(  # noqa: S603  our own interpreter, and no shell
            [*SWEEPER, *self._commands[name]],
            stdin=subprocess.DEVNULL,
            pass_fds=self._passed,
            start_new_session=True,
        )

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1


def told_to_end() -> threading.Event:
    """An event that SIGTERM and SIGINT set.

    A handler runs in the main thread, which may just hold the event's lock: so the handler writes
    to a pipe, and a thread that reads it sets the event.
    """
    stop, (reading, writing) = threading.Event(), os.pipe()

    def take(number: int, frame: FrameType | None) -> None:
        os.write(writing, b"x")

    def listen() -> None:
        os.read(reading, 1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, take)
    threading.Thread(target=listen, daemon=True, name="sweeper-signals").start()
    return stop


def when_orphaned(act: Callable[[], None]) -> None:
    """Calls `act` in a thread once the parent process has ended."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        act()

    threading.Thread(target=look, daemon=True, name="sweeper-parent").start()

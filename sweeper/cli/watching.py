"""The commands that serve pages on this machine: the dashboard, and the live page."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from sweeper import lookup
from sweeper.cli import inputs, logs
from sweeper.cli.options import Storage, SweepArgument, opened
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from sweeper.store.store import Store

DASHBOARD = "Example: sweeper dashboard --port 8080"
WATCH = "Example: sweeper watch batch-size-digits --port 8081"
NO_STARLETTE = (
    "the live page needs Starlette, which is not installed: pip install 'sweeper[service]'"
)

DEFAULT_PORT = 8081
Token = Annotated[
    bool,
    typer.Option(
        "--token", help="Ask for a token, which the printed address has; pages then name machines."
    ),
]
Port = Annotated[
    int,
    typer.Option(min=0, max=65535, envvar="SWEEPER_WATCH_PORT", help="0 takes a free port."),
]


def _page(store: Store, name: str) -> str:
    from sweeper.analysis.frames import load
    from sweeper.report.page import html

    return html(load(store, name))


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(envvar="SWEEPER_DASHBOARD_HOST", help="A loopback address.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, envvar="SWEEPER_DASHBOARD_PORT", help="0 takes a free port."
        ),
    ] = 8080,
) -> None:
    """Serve Optuna's dashboard on this machine, read-only.

    Each sweep's report is an artifact of its study, made when it is opened.
    """
    from sweeper.dashboard import Reports, application, listen, serve

    with listen(host, port) as listener, opened(storage) as store:
        lookup.check_not_empty(store)
        bound = listener.getsockname()[1]
        names = lambda: [sweep.name for sweep in store.sweeps()]  # noqa: E731
        reports = Reports(names, partial(_page, store))
        served = application(storage, port=bound, reports=reports)
        print(f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{bound}", flush=True)
        logs.say("read-only; Ctrl-C stops it")
        try:
            serve(served, listener)
        except KeyboardInterrupt:
            logs.say("stopped")


def watch(
    sweep: SweepArgument = None,
    storage: Storage = DEFAULT_STORAGE,
    port: Port = DEFAULT_PORT,
    token: Token = False,
) -> None:
    """Serve a live page of each sweep on this machine, and print its address.

    It reads the database only, so it may be started and stopped at any time.
    """
    check_installed()
    from sweeper.dashboard import listen

    with listen("127.0.0.1", port) as listener:
        with opened(storage) as store:
            name = lookup.find_sweep(store, sweep).name if sweep else ""
            if not name and len(names := lookup.check_not_empty(store)) == 1:
                name = names[0]
        from sweeper.watch import server

        secret = server.new_token() if token else ""
        print(address(listener.getsockname()[1], name, secret), flush=True)
        logs.say("read-only; Ctrl-C stops it")
        try:
            server.run(storage, listener, token=secret, where=where(storage) if token else "")
        except KeyboardInterrupt:
            logs.say("stopped")


def check_installed() -> None:
    """Raises: InputError, if the extra is not installed."""
    if find_spec("starlette") is None:
        raise InputError(NO_STARLETTE)


def address(port: int, name: str, token: str) -> str:
    """The address of a sweep's page, or of the list of all sweeps."""
    path = f"/s/{quote(name)}" if name else "/"
    return f"http://127.0.0.1:{port}{path}" + (f"?token={token}" if token else "")


def where(storage: str) -> str:
    """The option that names the database in commands to copy; empty where none is needed."""
    if storage == os.environ.get("SWEEPER_STORAGE", DEFAULT_STORAGE) or inputs.password_in(
        [storage]
    ):
        return ""
    return f" --storage {shlex.quote(storage)}"


@contextmanager
def beside(name: str, storage: str, *, wanted: bool) -> Iterator[None]:
    """A process that serves the live page of a launch, whose address is printed first.

    The launch does not wait for it; it ends by itself, after the launch, when nobody reads.
    """
    if not wanted:
        yield
        return
    check_installed()
    from sweeper.dashboard import listen

    wished = int(os.environ.get("SWEEPER_WATCH_PORT", DEFAULT_PORT))
    try:
        listener = listen("127.0.0.1", wished)
    except InputError:
        listener = listen("127.0.0.1", 0)  # another launch has a page there
    with listener:
        logs.say(f"watch:     {address(listener.getsockname()[1], name, '')}")
        start = "import os; os.nice(19); from sweeper.watch.server import run_beside"
        code = f"{start}; run_beside({listener.fileno()}, launch={os.getpid()})"
        subprocess.Popen(  # noqa: S603  our own words
            [sys.executable, "-c", code],
            env={**os.environ, "SWEEPER_STORAGE": storage},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the launch
        )
    yield

"""The command that runs the service on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper import lookup
from sweeper.cli import logs
from sweeper.cli.options import OpenRay, Plugins, RayAddress, Storage
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from socket import socket as Socket

    from sweeper.service.checking import Checker
    from sweeper.service.drivers import ServiceFolder
    from sweeper.service.messages import Addressees
    from sweeper.service.receivers import AllowedHosts
    from sweeper.service.serving import Listening
    from sweeper.store import Store

SERVE = "Example: sweeper serve --storage sqlite:///sweeps.db --workers 2"
ADMIN = "admin-token"
LAST_SECONDS = 60.0  # for messages that are being sent when the supervisor ends


def serve(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8090,
    folder: Annotated[
        Path, typer.Option(help="For the drivers' logs, spec files and the first token.")
    ] = Path("sweeper-service"),
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Processors to hand out; else all here."),
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="GPUs to hand out.")] = 0,
    price: Annotated[
        float,
        typer.Option(min=0, help="Of an hour of a GPU, or of a worker without one; for limits."),
    ] = 0.0,
    ray_address: RayAddress = None,
    open_ray: OpenRay = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in this machine's browser.")
    ] = False,
    plugins: Plugins = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file of data sets that specs may name."),
    ] = None,
    behind_proxy: Annotated[
        str, typer.Option(metavar="HOST", help="A proxy offers it over TLS under this name.")
    ] = "",
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="A PEM file, for TLS of its own.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="The PEM file of its key.")] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SWEEPER_NOTIFY", metavar="URL", help="Send messages about all sweeps there."
        ),
    ] = None,
    notify_hosts: Annotated[
        list[str] | None,
        typer.Option("--notify-host", metavar="HOST", help="Allow it in sweeper submit --notify."),
    ] = None,
    quiet_hours: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="A message after so long without a recorded round; drained after 4 times as long.",
        ),
    ] = 1.0,
    public_url: Annotated[
        str, typer.Option(metavar="URL", help="The service's address, for links in messages.")
    ] = "",
    dashboard: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Also Optuna's dashboard, read-only."),
    ] = None,
    dashboard_proxy: Annotated[
        str, typer.Option(metavar="HOST", help="The dashboard's name at the proxy.")
    ] = "",
    only: Annotated[
        Literal["api", "supervisor", "dashboard"] | None,
        typer.Option(help="Run only one of its processes, on this machine."),
    ] = None,
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the service: a queue of sweeps, submitted over HTTP and run one after another.

    The first start makes an administrator's token in the folder, and prints how to log in.
    """
    from sweeper.service import registered
    from sweeper.service.checking import Checker
    from sweeper.service.drivers import ServiceFolder
    from sweeper.service.messages import Addressees
    from sweeper.service.receivers import AllowedHosts, owners_receiver
    from sweeper.service.serving import Listening

    if any(find_spec(name) is None for name in ("starlette", "prometheus_client")):
        raise InputError("sweeper serve needs more packages: pip install 'sweeper[service]'")
    lookup.check_storage(storage)
    lookup.check_ray(ray_address, allow_open=open_ray)
    if gpus > 1 and ray_address is None and only in (None, "supervisor"):
        raise InputError(
            f"--gpus {gpus}: sweeps with a Ray each would use the same GPU twice; start one Ray, "
            "`ray start --head`, and name it: --ray-address HOST:PORT"
        )
    listening = Listening(
        host=host, port=port, behind_proxy=behind_proxy, certificate=certificate, key=key
    )
    listening.check()
    board = _board(listening, dashboard, dashboard_proxy)
    addressees = Addressees(
        owners=tuple(owners_receiver(address) for address in notify or ()),
        allowed=AllowedHosts.read(notify_hosts or ()),
        link=_checked_url(public_url),
    )
    place = ServiceFolder(folder.expanduser().absolute())
    place.make()
    address = _absolute(storage)
    registry = {} if data is None else registered.read(data)
    if only == "api":
        checker = Checker([path.absolute() for path in plugins or ()], registry)
        allowed = addressees.allowed
        _api(address, listening, place, checker=checker, allowed=allowed, number=listener)
    elif only == "supervisor":
        _supervise(
            address,
            place,
            addressees,
            workers=workers,
            gpus=gpus,
            price=price,
            quiet_hours=quiet_hours,
            alone=listener is None,
            plugins=plugins or [],
            ray=ray_address,
        )
    elif only == "dashboard":
        if board is None:
            raise InputError("--dashboard: name the port")
        _dashboard(address, board, number=listener)
    else:
        _both(address, listening, board, place, addressees, open_page=open_page)


def _board(listening: Listening, port: int | None, proxy: str) -> Listening | None:
    """Where Optuna's dashboard listens; None without one."""
    from dataclasses import replace

    if port is None:
        return None
    if bool(listening.behind_proxy) != bool(proxy):
        raise InputError(
            "--dashboard-proxy and --behind-proxy go together: the proxy offers the dashboard "
            "under a name of its own"
        )
    return replace(listening, port=port, behind_proxy=proxy)


def _checked_url(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise InputError(f"--public-url: {url!r}: an address such as https://sweeps.example.org")
    return url.rstrip("/")


def _absolute(storage: str) -> str:
    """The database's URL for processes that run in other folders."""
    from sweeper.store import dialects

    return dialects.parse(storage).url.render_as_string(hide_password=False)


def _both(
    storage: str,
    listening: Listening,
    board: Listening | None,
    folder: ServiceFolder,
    addressees: Addressees,
    *,
    open_page: bool,
) -> None:
    """Keeps the API, the supervisor and the dashboard running, on sockets that outlive them."""
    import sys
    from contextlib import ExitStack

    from sweeper.service.serving import Parent

    with ExitStack() as held:
        store, socket = held.enter_context(_opened(storage)), held.enter_context(listening.listen())
        beside = held.enter_context(board.listen()) if board is not None else None
        url = _url(listening, socket)
        _first_token(store, folder, url)
        store.close()
        print(url, flush=True)
        os.environ["SWEEPER_STORAGE"] = storage  # never on a command line
        if logs.as_json():  # drivers too
            os.environ["SWEEPER_LOG_FORMAT"] = "json"
        if addressees.owners:
            os.environ["SWEEPER_NOTIFY"] = " ".join(one.address for one in addressees.owners)
        words = _without(_without(sys.argv[1:], "--storage"), "--notify")
        link = [] if addressees.link else ["--public-url", url]
        number = socket.fileno()
        commands = {
            "API": [*words, "--only", "api", "--listener", str(number)],
            "supervisor": [*words, "--only", "supervisor", "--listener", str(number), *link],
        }
        passed = [number]
        if board is not None and beside is not None:
            logs.say(f"Optuna's dashboard: {_url(board, beside)}")
            passed.append(beside.fileno())
            commands["dashboard"] = [*words, "--only", "dashboard", "--listener", str(passed[-1])]
        if open_page:
            _open(url)
        logs.say("Ctrl-C finishes the rounds of all sweeps and stops; they continue next time")
        Parent(commands, passed=passed, say=logs.say).run()
    logs.say("stopped")


def _program() -> str:
    """How this program is started from another shell."""
    import shutil
    import sys

    return "sweeper" if shutil.which("sweeper") else str(Path(sys.argv[0]).absolute())


def _open(url: str) -> None:
    """Opens a page in a browser with a window; without one, the printed address is enough."""
    import sys
    import webbrowser

    if sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        webbrowser.open(url)


def _url(listening: Listening, bound: Socket) -> str:
    """The address of a service that listens on a socket."""
    url = f"{'https' if listening.secure else 'http'}://{_name(listening)}"
    return url if listening.behind_proxy else f"{url}:{bound.getsockname()[1]}"


def _name(listening: Listening) -> str:
    if listening.behind_proxy:
        return listening.behind_proxy
    return "127.0.0.1" if listening.host in ("localhost", "127.0.0.1") else listening.host


def _without(words: list[str], option: str) -> list[str]:
    """The words of a command line without an option and its value."""
    found, skip = list[str](), False
    for word in words:
        if skip or word.startswith(f"{option}="):
            skip = False
        elif word == option:
            skip = True
        else:
            found.append(word)
    return found


def _opened(storage: str) -> Store:
    """The database, each of whose answers is waited for as long as a driver would."""
    from sweeper.store import Store

    store = Store.open(storage, create=True)
    store.attend(lambda: False)
    return store


def _first_token(store: Store, folder: ServiceFolder, url: str) -> None:
    """Makes an administrator's token where the database has no token yet."""
    from sweeper.service.access import new_token
    from sweeper.store.accounts import Accounts
    from sweeper.store.service_records import Role

    accounts, path = Accounts(store.database), folder.path / ADMIN
    if not accounts.tokens():
        text, _ = new_token(
            accounts, label="made at the first start", owner="admin", role=Role.ADMIN, days=None,
            who="sweeper serve",
        )  # fmt: skip
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{text}\n")
    if path.exists():
        logs.say(f"log in as administrator: {_program()} login {url} --token-file {path}")
        logs.say("in a browser: the token is the text of that file")


def _api(
    storage: str,
    listening: Listening,
    folder: ServiceFolder,
    *,
    checker: Checker,
    allowed: AllowedHosts,
    number: int | None,
) -> None:
    import signal
    import socket

    from sweeper.dashboard import serve as serve_http
    from sweeper.service.desk import Desk
    from sweeper.service.gate import Gate
    from sweeper.service.metrics import MetricsPage
    from sweeper.service.routes import application
    from sweeper.service.serving import when_orphaned
    from sweeper.watch.regions import Around
    from sweeper.watch.routes import Watcher
    from sweeper.watch.source import WatchedDatabase

    if number is not None:
        when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    made = listening.listen() if number is None else socket.socket(fileno=number)
    with made as bound, _opened(storage) as store:
        watcher = Watcher(WatchedDatabase(storage, hosts=True, around=Around.SERVICE))
        shared = Watcher(WatchedDatabase(storage, around=Around.LINK))
        pages = lambda: (  # noqa: E731
            watcher.readers + shared.readers, max(watcher.lag_s, shared.lag_s)
        )  # fmt: skip
        metrics = MetricsPage(store.database, pages)
        desk = Desk(store, checker=checker, folder=folder, allowed=allowed, metrics=metrics.text)
        routes = application(desk, watcher, shared=shared, secure=listening.secure)
        gate = Gate(
            routes,  # type: ignore[arg-type]
            hosts=listening.hosts(bound.getsockname()[1]),
            known=desk.known,
            secure=listening.secure,
        )
        serve_http(gate, bound, most=1000, certificate=listening.certificate, key=listening.key)


def _dashboard(storage: str, listening: Listening, *, number: int | None) -> None:
    import signal
    import socket

    from sweeper.dashboard import serve as serve_http
    from sweeper.service.access import access
    from sweeper.service.dashboard import application
    from sweeper.service.serving import when_orphaned
    from sweeper.store.accounts import Accounts

    if number is not None:
        when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    made = listening.listen() if number is None else socket.socket(fileno=number)
    with made as bound, _opened(storage) as store:
        port, accounts = bound.getsockname()[1], Accounts(store.database)
        gate = application(
            store,
            storage,
            port=port,
            hosts=listening.hosts(port),
            known=lambda text: access(accounts, text),
            secure=listening.secure,
        )
        serve_http(gate, bound, certificate=listening.certificate, key=listening.key)


def _supervise(
    storage: str,
    folder: ServiceFolder,
    addressees: Addressees,
    *,
    workers: int | None,
    gpus: int,
    price: float,
    quiet_hours: float,
    alone: bool,
    plugins: list[Path],
    ray: str | None,
) -> None:
    import threading

    from sweeper.service.drivers import DriverProcesses, verdict
    from sweeper.service.fair import Supply
    from sweeper.service.messages import Messenger
    from sweeper.service.noticing import Patience, Watchman
    from sweeper.service.serving import told_to_end, when_orphaned
    from sweeper.service.supervisor import Offer, Supervisor
    from sweeper.store.leading import Leading
    from sweeper.store.outbox import Outbox
    from trainers.cores import cores

    if ray is not None and workers is None:
        raise InputError("--workers: say how many processors of the cluster may be handed out")
    options = [word for path in plugins for word in ("--plugin", str(path.absolute()))]
    options += [] if ray is None else ["--ray-address", ray]
    with _opened(storage) as store:
        supervisor = Supervisor(
            Leading(store.database),
            DriverProcesses(folder, storage=storage, options=options),
            Offer(room=Supply(float(workers or cores()), float(gpus)), price=price),
            receivers=addressees.ids,
            watchman=Watchman(patience=Patience.of_hours(quiet_hours)),
            say=logs.say,
        )
        messenger = Messenger(
            Outbox(store.database),
            addressees,
            verdict=lambda name: verdict(name, storage),
            say=logs.say,
        )
        stop = told_to_end()
        orphaned: list[bool] = []
        end: Callable[[], None] = lambda: (orphaned.append(True), stop.set())[1]  # noqa: E731
        if not alone:  # the parent of both is gone
            when_orphaned(end)
        sending = threading.Thread(
            target=lambda: messenger.run(stop, leads=lambda: supervisor.leads),
            daemon=True,
            name="sweeper-messages",
        )
        sending.start()
        supervisor.run(stop, drain=lambda: not orphaned)
        sending.join(LAST_SECONDS)
        if supervisor.leads:
            messenger.finish()  # about sweeps that have ended while they were drained

"""Starts or joins Ray: quietly, with authentication, and without the database's address."""

from __future__ import annotations

import atexit
import logging
import math
import os
import secrets
import shutil
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.engine import joining, sockets
from sweeper.engine.raywatch import Head
from sweeper.errors import ClusterAway, EngineError, InputError
from trainers.cores import cores as process_cores
from trainers.data_config import DATA_ROOTS

if TYPE_CHECKING:
    from ray.job_config import JobConfig

ENTRYPOINT = "sweeper"  # the name of this job in Ray
OBJECT_STORE_BYTES = 100_000_000  # packs and messages are small
_stopping = threading.Event()  # set while we end Ray's processes ourselves
_broken = threading.Event()  # set once a Ray process has ended by itself
_folders: list[Path] = []  # folders of Ray's files, removed when Ray has ended
_heads: list[Head] = []  # heads of joined clusters
# Ray reads these at import or at start; each is set only if the user has not set it.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers are started when they are asked for, not one for each core beforehand.
    "RAY_prestart_worker_first_driver": "0",
    # For glibc in workers, in bytes: the tensors of a step reuse the pages of the last step.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The resources of the cluster."""

    cpus: float
    gpus: float


def cores() -> int:
    """The processors that this process may use, within limits of container and affinity."""
    from ray._private import utils

    there = int(utils.get_num_cpus(override_docker_cpu_warning=True))
    return max(1, min(there, process_cores()))


def prepare() -> None:
    """Sets the environment variables that Ray reads, unless the user has set them."""
    from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")  # Ray has read the mode at import; its own init does the same
    logging.getLogger("ray").setLevel(logging.CRITICAL)


@contextmanager
def started(
    *,
    address: str | None,
    cpus: float,
    gpus: float,
    say: Callable[[str], None] = lambda text: None,
    listen: Callable[[], None] = lambda: None,
) -> Iterator[Capacity]:
    """Runs Ray: a local Ray that ends with this process, or the cluster at `address`.

    `cpus` and `gpus` are the total that the workers ask for. A local Ray offers at least that many
    processors, because runs may share a core, and exactly the GPUs that exist. `say` gets a
    warning if others can read the token file.

    Ray takes over SIGTERM when it starts, and returns it to the system when it ends; `listen` is
    called each time, to take it back.

    Raises:
        InputError: the cluster cannot be reached, or has not enough GPUs.
    """
    prepare()
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if os.environ["RAY_AUTH_MODE"] == "token" and (warning := joining.exposed(os.environ)):
            say(f"warning: {warning}")
        _init(address=address, cpus=cpus)
        listen()
        if address is not None:
            _heads.append(Head(ray.get_runtime_context().gcs_address))
        try:
            total = ray.cluster_resources()
            yield Capacity(cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0))
        finally:
            _stop(listen)
            _heads.clear()
            _tidy()


def ended() -> str:
    """The parts of this process's Ray that have ended; empty while all of it lives."""
    from ray._private import worker

    for head in _heads:
        if gone := head.ended():
            return gone

    node = worker._global_node
    if node is None or _stopping.is_set():
        return ""
    dead = node.dead_processes()
    return dead[0][0] if dead and not _stopping.is_set() else ""


def leave(code: int) -> None:
    """Makes this process exit with `code`, if Ray has ended before it.

    Without this, Ray's client waits a minute for an answer, and then ends the process its own way.
    """
    if _broken.is_set():
        atexit.register(end, code)


def end(code: int) -> None:
    """Ends this process at once, whatever its other threads wait for."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _tidy()
    os._exit(code)


def _tidy() -> None:
    """Removes the folders of Rays that have ended."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def _stop(listen: Callable[[], None]) -> None:
    import ray
    from ray._private import worker

    node = worker._global_node
    if node is not None and ended():
        _broken.set()  # a shutdown would ask the process that has ended
        node.kill_all_processes(check_alive=False, allow_graceful=False)
        return
    _stopping.set()
    try:
        with _listening(node, listen):
            ray.shutdown()
    finally:
        _stopping.clear()


@contextmanager
def _listening(node: Any, listen: Callable[[], None]) -> Iterator[None]:
    """Calls `listen` when Ray's client has ended, before its processes are ended, and afterwards.

    Ending the processes takes a second or more, in which a SIGTERM would end this process too.
    """
    if node is not None:
        end_all = node.kill_all_processes

        def end_listening(*args: Any, **options: Any) -> None:
            listen()
            end_all(*args, **options)

        node.kill_all_processes = end_listening
    try:
        yield
    finally:
        listen()


def check(address: str | None) -> None:
    """Checks that Ray can be started here, or that the cluster at `address` can be joined.

    Raises:
        InputError: there is no folder for its sockets, or the cluster refuses access.
    """
    if address is None:
        sockets.check()
        return
    joining.check(address, {name: os.environ[name] for name in os.environ if not is_secret(name)})


def _init(*, address: str | None, cpus: float) -> None:
    import ray

    common = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "configure_logging": True,
        "job_config": _job(joined=address is not None),
    }
    try:
        if address is not None:
            with _unnamed():
                ray.init(address=address, **common)
            return
        if os.environ["RAY_AUTH_MODE"] == "token" and not _token_configured():
            # In this process and its children only: nothing is written to the home directory.
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        _folders.append(sockets.make())
        with without_secrets(), _unnamed(), _apart(), _lean(), _on_loopback():
            ray.init(
                address="local",
                _temp_dir=str(_folders[-1]),
                # Ray checks the size of the shared memory, but not whether it is writable.
                _plasma_directory=None if sockets.writable(sockets.SHARED) else str(_folders[-1]),
                include_dashboard=False,
                num_cpus=max(math.ceil(cpus), cores()),
                object_store_memory=OBJECT_STORE_BYTES,
                **common,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is not None:
            kind = ClusterAway if isinstance(error, ConnectionError) else InputError
            raise kind(f"--ray-address: {address!r} cannot be joined: {error}") from error
        raise EngineError(f"Ray does not start: {error}") from error


def _rules() -> dict[str, Any] | None:
    """The rules for a cluster's workers: where this job's data must be, besides their own rule."""
    own, job = DATA_ROOTS
    root = os.environ.get(own)
    return {"env_vars": {job: root}} if root else None


def _job(*, joined: bool) -> JobConfig:
    """Makes workers import what this process imports.

    Ray itself puts the working directory first on their path, so a user's folder `trainers` would
    hide this project's. Ray has no setting for it.
    """
    from ray.job_config import JobConfig

    class OwnPathJob(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # keeps Ray from adding the working directory

    job = OwnPathJob(runtime_env=_rules() if joined else None)
    job._py_driver_sys_path = own_path()[::-1]  # Ray puts each path before the last one
    return job


def own_path() -> list[str]:
    """The paths where this process looks for modules before Python's own paths."""
    standard = sysconfig.get_path("stdlib")
    before = takewhile(lambda entry: entry != standard and not entry.endswith(".zip"), sys.path)
    return [os.path.abspath(entry) for entry in before]


@contextmanager
def _unnamed() -> Iterator[None]:
    """Keeps this process's command line, which may hold a password, out of Ray's table of jobs.

    Ray stores it there as the job's entrypoint, where every worker can read it, and has no setting
    for it.
    """
    from ray._private import utils

    asked = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: ENTRYPOINT
    try:
        yield
    finally:
        utils.get_entrypoint_name = asked


@contextmanager
def _apart() -> Iterator[None]:
    """Starts Ray's processes in their own sessions.

    `timeout`, a service manager or a terminal signals the whole process group, and Ray would end
    before the driver has finished its round. Ray has no setting for it. Where the kernel does not
    end the processes with this one, they must stay in its group, by which Ray ends them.
    """
    from ray._private import services, utils

    plain = services.ConsolePopen
    if utils.detect_fate_sharing_support():
        services.ConsolePopen = partial(plain, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = plain


@contextmanager
def _lean() -> Iterator[None]:
    """Starts Ray without the processes that a sweep on one machine never uses.

    They are the server of a dashboard that is switched off, for which Ray waits a second; the
    monitor, which asks for more machines; and the log monitor, which passes on output that
    `log_to_driver` switches off. Ray has no setting for them.
    """
    from ray._private import node, services

    server, head = services.start_api_server, node.Node
    monitors = head.start_monitor, head.start_log_monitor
    services.start_api_server = lambda *args, **kwargs: (None, None)  # as if it could not start
    head.start_monitor = head.start_log_monitor = lambda self: None
    try:
        yield
    finally:
        services.start_api_server = server
        head.start_monitor, head.start_log_monitor = monitors


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Starts a Ray of one machine on 127.0.0.1 only.

    By default Ray listens on every address, and replaces the loopback address if it is given. On
    macOS and Windows it already behaves as wanted; elsewhere it has no setting for it.
    """
    from ray._private import ray_constants

    several = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several


def _token_configured() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or os.path.exists(os.path.expanduser("~/.ray/auth_token"))


def is_secret(name: str) -> bool:
    """Returns whether a variable may hold the database's address or a password."""
    return name in {"SWEEPER_STORAGE", "DATABASE_URL"} or name.startswith("PG")


@contextmanager
def without_secrets() -> Iterator[None]:
    """The environment for workers: without the database's address."""
    hidden = {name: value for name, value in os.environ.items() if is_secret(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)

"""Checks this machine and this database, one finding a line."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Literal

from sweeper.errors import InputError, SweeperError

# Older versions have known vulnerabilities (CVE-2026-27482 in Ray, CVE-2026-24747 in torch,
# CVE-2025-27516 in Jinja2), or lack something that Sweeper needs.
FLOORS = {"ray": (2, 54), "torch": (2, 10), "optuna": (5, 0), "jinja2": (3, 1, 6)}
DISK_LOW_GIB = 2.0
ELSEWHERE = "name other places: --storage, SWEEPER_CHECKPOINTS, TMPDIR, SWEEPER_CACHE"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check."""

    what: str
    state: Literal["ok", "note", "wrong"]
    text: str


def examine(storage: str) -> Iterator[CheckResult]:
    """Returns every finding, cheap ones first; the database `storage` need not exist yet."""
    from trainers.cache import root

    yield _python()
    for package, floor in FLOORS.items():
        yield version(package, floor)
    yield _cores()
    yield _gpu()
    yield executor()
    yield ray_auth(os.environ)
    yield ray_folder(os.environ)
    yield shared_memory()
    yield home(Path(os.path.expanduser("~")), cache=root())
    yield disk(_filled(storage))
    yield _data(os.environ)
    yield database(storage)


def plugin(path: Path) -> CheckResult:
    """Runs a plug-in's file, and names the parts that it adds to the catalogue."""
    from sweeper.engine import plugins
    from trainers.catalogue import KEYS, entries

    def named() -> set[str]:
        return {f"{kind} {name}" for kind in KEYS for name in entries(kind)}

    before = named()
    try:
        plugins.load([path])
    except InputError as error:
        return CheckResult(what="plug-in", state="wrong", text=str(error))
    added = ", ".join(sorted(named() - before)) or "no part of the catalogue"
    return CheckResult(what="plug-in", state="ok", text=f"{path} runs, and adds {added}")


def version(package: str, floor: tuple[int, ...]) -> CheckResult:
    """Checks that a package is installed and not older than `floor`."""
    needed = ".".join(map(str, floor))
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return CheckResult(
            what=package, state="wrong", text=f"not installed; {needed} or newer needed"
        )
    numbers = tuple(int(part) for part in found.split("+")[0].split(".") if part.isdigit())
    if numbers < floor:
        return CheckResult(what=package, state="wrong", text=f"{found}; {needed} or newer needed")
    return CheckResult(what=package, state="ok", text=found)


def database(storage: str) -> CheckResult:
    """Checks that the database can be opened, and its settings."""
    from sweeper.store import dialects
    from sweeper.store.store import Store

    address = dialects.parse(storage)
    if address.path is not None and not address.path.exists():
        return CheckResult(
            what="database", state="ok", text=f"{address.label}: launch will make it"
        )
    try:
        with Store.open(storage, create=False) as store:
            sweeps = len(store.sweeps())
    except SweeperError as error:
        return CheckResult(what="database", state="wrong", text=str(error))
    return CheckResult(what="database", state="ok", text=f"{address.label}: {sweeps} sweeps")


def _python() -> CheckResult:
    found = platform.python_version()
    state = "ok" if sys.version_info >= (3, 11) else "wrong"
    return CheckResult(
        what="python", state=state, text=f"{found} on {platform.platform(terse=True)}"
    )


def _cores() -> CheckResult:
    from sweeper.engine.cluster import cores

    return CheckResult(what="cores", state="ok", text=f"{cores()}")


def _gpu() -> CheckResult:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if names:
        return CheckResult(what="gpu", state="ok", text=", ".join(names))
    return CheckResult(what="gpu", state="note", text="none: runs train on the processor")


def executor() -> CheckResult:
    """The library that computes whole networks on processors."""
    from trainers.compiled.build import lacking, levels, library_of

    if text := lacking():
        return CheckResult(what="executor", state="note", text=text)
    built = [level for level in levels() if library_of(level).exists()]
    return CheckResult(what="executor", state="ok", text=f"built for {', '.join(built)}")


def ray_auth(environment: Mapping[str, str]) -> CheckResult:
    """Checks that Ray requires a token, and that others on this machine cannot read it."""
    from sweeper.engine import joining

    where = "a local Ray listens on 127.0.0.1 alone"
    try:
        joining.check_mode(environment, allowed=False)
    except InputError as error:
        return CheckResult(what="ray auth", state="wrong", text=str(error))
    if warning := joining.exposed(environment):
        return CheckResult(what="ray auth", state="note", text=f"token; {where}; {warning}")
    return CheckResult(what="ray auth", state="ok", text=f"token; {where}")


def ray_folder(environment: Mapping[str, str]) -> CheckResult:
    """Checks that there is a folder for Ray's sockets, and that it is the named one."""
    from sweeper.engine import sockets

    try:
        folder = sockets.check(environment)
    except InputError as error:
        return CheckResult(what="ray folder", state="wrong", text=str(error))
    faults = [
        f"{place.name} cannot be used: {place.fault}"
        for place in takewhile(lambda place: place.fault, sockets.places(environment))
    ]
    state = "note" if faults else "ok"
    return CheckResult(what="ray folder", state=state, text="; ".join([folder, *faults]))


def shared_memory(folder: str = "") -> CheckResult:
    """Checks that Ray's object store fits into shared memory."""
    from sweeper.engine import cluster, sockets

    folder = folder or sockets.SHARED
    instead = "Ray uses a folder on disk, which is slower"
    if not sockets.writable(folder):
        text = f"{folder} cannot be written: {instead}"
        return CheckResult(what="shared memory", state="note", text=text)
    free = shutil.disk_usage(folder).free
    if free <= cluster.OBJECT_STORE_BYTES:
        text = (
            f"{free / 2**20:.0f} MiB free in {folder}: {instead}; "
            "in a container: docker run --shm-size=256m"
        )
        return CheckResult(what="shared memory", state="note", text=text)
    return CheckResult(what="shared memory", state="ok", text=f"{free / 2**30:.1f} GiB free")


def home(folder: Path, *, cache: Path) -> CheckResult:
    """Checks that files for later launches can be written, mostly in the home directory."""
    from sweeper.engine import sockets

    if not sockets.writable(_there(cache)):
        text = (
            f"{cache} cannot be written: each launch checks and converts again; "
            "SWEEPER_CACHE=FOLDER names another place"
        )
        return CheckResult(what="home", state="note", text=text)
    if not sockets.writable(folder):
        text = f"{folder} cannot be written, and need not: the cache is {cache}"
        return CheckResult(what="home", state="ok", text=text)
    return CheckResult(what="home", state="ok", text=str(folder))


def _there(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _filled(storage: str) -> dict[str, Path]:
    """The folders that a sweep fills, by their content."""
    import trainers.folders as folders
    from sweeper.engine import checkpoint_paths, sockets
    from sweeper.store import dialects
    from trainers.cache import root

    address = dialects.parse(storage)
    found = {} if address.path is None else {"the database": address.path.absolute().parent}
    base = checkpoint_paths.of(storage).base
    if not folders.is_url(base):
        found["checkpoints"] = Path(base)
    with suppress(InputError):
        found["Ray's files"] = Path(sockets.check())
    if sockets.writable(_there(root())):
        found["the cache"] = root()
    return found


def disk(folders: Mapping[str, Path]) -> CheckResult:
    """Returns the free space of each of these folders, which need not exist yet."""
    free = {
        what: shutil.disk_usage(_there(folder)).free / 2**30 for what, folder in folders.items()
    }
    low = [
        f"{free[what]:.1f} GiB free for {what} ({folder})"
        for what, folder in folders.items()
        if free[what] < DISK_LOW_GIB
    ]
    if low:
        text = f"{'; '.join(low)}: make room, or {ELSEWHERE}"
        return CheckResult(what="disk", state="wrong", text=text)
    least = min(free.values())
    return CheckResult(
        what="disk", state="ok", text=f"{least:.1f} GiB free for {', '.join(folders)}"
    )


def _data(environment: Mapping[str, str]) -> CheckResult:
    folder = environment.get("SWEEPER_DATA")
    if not folder:
        text = "SWEEPER_DATA is not set: digits come with scikit-learn, files are named by path"
        return CheckResult(what="data", state="note", text=text)
    there = Path(folder).is_dir()
    text = folder if there else f"{folder} (SWEEPER_DATA) is not a folder"
    return CheckResult(what="data", state="ok" if there else "wrong", text=text)

"""What this machine and this database are good for, one finding a line."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from sweeper.errors import SweeperError

# Below these versions there are known holes (CVE-2026-27482 in Ray, CVE-2026-24747 in torch,
# CVE-2025-27516 in Jinja2), or something that Sweeper relies on is missing.
FLOORS = {"ray": (2, 54), "torch": (2, 10), "optuna": (5, 0), "jinja2": (3, 1, 6)}
DISK_LOW_GIB = 2.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "note", "wrong"]
    text: str


def examine(storage: str) -> Iterator[Finding]:
    """Every finding, cheap ones first; `storage` is a database URL that need not exist yet."""
    yield _python()
    for package, floor in FLOORS.items():
        yield version(package, floor)
    yield _cores()
    yield _gpu()
    yield ray_auth(os.environ)
    yield _disk(Path.cwd())
    yield _data(os.environ)
    yield database(storage)


def version(package: str, floor: tuple[int, ...]) -> Finding:
    """Whether a package is installed, and not older than `floor`."""
    needed = ".".join(map(str, floor))
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(what=package, state="wrong", text=f"not installed; {needed} or newer needed")
    numbers = tuple(int(part) for part in found.split("+")[0].split(".") if part.isdigit())
    if numbers < floor:
        return Finding(what=package, state="wrong", text=f"{found}; {needed} or newer needed")
    return Finding(what=package, state="ok", text=found)


def database(storage: str) -> Finding:
    """Whether the database can be opened, and how far it can be trusted."""
    from sweeper.store import dialects
    from sweeper.store.store import Store

    address = dialects.parse(storage)
    if address.path is not None and not address.path.exists():
        return Finding(what="database", state="ok", text=f"{address.label}: launch will make it")
    try:
        with Store.open(storage, create=False) as store:
            sweeps = len(store.sweeps())
    except SweeperError as error:
        return Finding(what="database", state="wrong", text=str(error))
    return Finding(what="database", state="ok", text=f"{address.label}: {sweeps} sweeps")


def _python() -> Finding:
    found = platform.python_version()
    state = "ok" if sys.version_info >= (3, 11) else "wrong"
    return Finding(what="python", state=state, text=f"{found} on {platform.platform(terse=True)}")


def _cores() -> Finding:
    from sweeper.engine.cluster import cores

    return Finding(what="cores", state="ok", text=f"{cores()}")


def _gpu() -> Finding:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if names:
        return Finding(what="gpu", state="ok", text=", ".join(names))
    return Finding(what="gpu", state="note", text="none: runs train on the processor")


def ray_auth(environment: Mapping[str, str]) -> Finding:
    """Whether Ray asks for a token, and whether others on this machine can read it."""
    mode = environment.get("RAY_AUTH_MODE", "token")
    if mode != "token":
        text = f"RAY_AUTH_MODE={mode}: whoever reaches Ray's ports can run code here"
        return Finding(what="ray auth", state="wrong", text=text)
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if path.exists() and path.stat().st_mode & 0o077:
        text = f"token, but {path} can be read by others: chmod 600"
        return Finding(what="ray auth", state="note", text=text)
    return Finding(what="ray auth", state="ok", text="token")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    state = "ok" if free >= DISK_LOW_GIB else "wrong"
    return Finding(what="disk", state=state, text=f"{free:.1f} GiB free here")


def _data(environment: Mapping[str, str]) -> Finding:
    folder = environment.get("SWEEPER_DATA")
    if not folder:
        text = "SWEEPER_DATA is not set: digits come with scikit-learn, files are named by path"
        return Finding(what="data", state="note", text=text)
    there = Path(folder).is_dir()
    text = folder if there else f"{folder} (SWEEPER_DATA) is not a folder"
    return Finding(what="data", state="ok" if there else "wrong", text=text)

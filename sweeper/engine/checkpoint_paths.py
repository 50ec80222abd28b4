"""The paths of checkpoints: beside the SQLite file, or where SWEEPER_CHECKPOINTS says."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trainers.folders as folders
from sweeper.errors import InputError
from sweeper.store import dialects
from sweeper.store.dialects import Address

VARIABLE = "SWEEPER_CHECKPOINTS"
ANSWER_SECONDS = 30.0
EACH_NODE_ITS_OWN = (
    f"{VARIABLE} is not set: each node keeps checkpoints on a disk of its own, so a pack that is "
    "tried again on another node starts again; name a shared folder or s3://bucket/folder"
)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The folders of a database's checkpoints, each a path or a URL.

    Attributes:
        base: the user's folder, which is never removed.
        root: the folder in it for all of this database's checkpoints.
    """

    base: str
    root: str

    def of_pack(self, sweep: int, *, pack: int) -> str:
        """The folder of a pack's checkpoints."""
        return f"{self.root}/sweep-{sweep}/pack-{pack}"

    def remove(self, sweep: int, *, pack: int) -> None:
        """Removes a pack's checkpoints, and empty folders below the base.

        Files that shared storage does not remove are left there.
        """
        place = self.of_pack(sweep, pack=pack)
        try:
            folders.opened(place).clear()
        except OSError:
            return
        if not folders.is_url(place):
            self._tidy(Path(place))

    def _tidy(self, folder: Path) -> None:
        for parent in folder.parents:
            if str(parent) == self.base:
                break
            try:
                parent.rmdir()
            except OSError:  # not empty, or gone
                break


def of(storage: str, *, environment: Mapping[str, str] = os.environ) -> Checkpoints:
    """The paths of a database's checkpoints; on a cluster they must be on shared storage.

    Raises:
        StoreError: the database's URL cannot be read.
    """
    address = dialects.parse(storage)
    if named := environment.get(VARIABLE):
        base = named.rstrip("/") if folders.is_url(named) else str(_path(named))
        return Checkpoints(base=base, root=f"{base}/{_mark(address)}")
    if address.path is not None:
        file = address.path.resolve()
        root = file.with_name(file.name + ".files") / "checkpoints"
        return Checkpoints(base=str(file.parent), root=str(root))
    base = Path.cwd()
    root = base / "sweeper.files" / "checkpoints" / _mark(address)
    return Checkpoints(base=str(base), root=str(root))


def check(environment: Mapping[str, str] = os.environ, *, limit: float = ANSWER_SECONDS) -> None:
    """Checks that the named URL works here, by writing and reading a file.

    Raises:
        InputError: it does not; nothing has been started.
    """
    named = environment.get(VARIABLE, "")
    if folders.MARK not in named:
        return
    fault = folders.fault(named)
    if not fault and folders.is_url(named):
        fault = _tried(named, limit=limit)
    if fault:
        raise InputError(f"{VARIABLE}: '{folders.without_user(named)}': {fault}")


def remark(ray_address: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """A note on the checkpoints of a launch on a joined cluster; empty if none is needed."""
    return EACH_NODE_ITS_OWN if ray_address is not None and not environment.get(VARIABLE) else ""


def _tried(place: str, *, limit: float) -> str:
    """Why writing there fails; empty if it works.

    The time limit is this function's, because some storages' clients retry for minutes.
    """
    found = [f"no answer within {limit:g} s; look at the address and the network"]

    def ask() -> None:
        try:
            folders.try_out(place)
        except OSError as error:
            found[0] = str(error)
        else:
            found[0] = ""

    asking = threading.Thread(target=ask, name="checkpoints", daemon=True)
    asking.start()
    asking.join(limit)
    return found[0]


def _path(named: str) -> Path:
    return Path(folders.local(named)).resolve()


def _mark(address: Address) -> str:
    """A mark that differs between databases in a shared folder, and reveals no password."""
    where = address.label if address.path is None else str(address.path.resolve())
    return hashlib.sha256(where.encode()).hexdigest()[:12]

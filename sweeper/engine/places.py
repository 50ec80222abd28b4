"""Where checkpoints lie: beside the SQLite file, or where SWEEPER_CHECKPOINTS says."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeper.store import dialects
from sweeper.store.dialects import Address

VARIABLE = "SWEEPER_CHECKPOINTS"


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The folders of one database's checkpoints.

    Attributes:
        base: a folder of the user's, which is never removed.
        root: the folder for all of this database's checkpoints, below it.
    """

    base: Path
    root: Path

    def of_pack(self, sweep: int, *, pack: int) -> Path:
        """The folder of one pack's checkpoints."""
        return self.root / f"sweep-{sweep}" / f"pack-{pack}"

    def remove(self, sweep: int, *, pack: int) -> None:
        """Removes a pack's checkpoints, and the folders below the base that are left empty."""
        folder = self.of_pack(sweep, pack=pack)
        shutil.rmtree(folder, ignore_errors=True)
        for parent in folder.parents:
            if parent == self.base:
                break
            try:
                parent.rmdir()
            except OSError:  # not empty, or gone
                break


def of(storage: str, *, environment: Mapping[str, str] = os.environ) -> Checkpoints:
    """Where the checkpoints of a database lie; on a cluster it must be a shared folder.

    Raises:
        StoreError: the database's URL cannot be read.
    """
    address = dialects.parse(storage)
    named = environment.get(VARIABLE)
    if named:
        base = Path(named).resolve()
        return Checkpoints(base=base, root=base / _mark(address))
    if address.path is not None:
        file = address.path.resolve()
        root = file.with_name(file.name + ".files") / "checkpoints"
        return Checkpoints(base=file.parent, root=root)
    base = Path.cwd()
    return Checkpoints(base=base, root=base / "sweeper.files" / "checkpoints" / _mark(address))


def _mark(address: Address) -> str:
    """Tells databases apart that share a folder, and says nothing of how to get in."""
    where = address.label if address.path is None else str(address.path.resolve())
    return hashlib.sha256(where.encode()).hexdigest()[:12]

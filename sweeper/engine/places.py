"""Where checkpoints lie: beside the SQLite file, or where SWEEPER_CHECKPOINTS says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

VARIABLE = "SWEEPER_CHECKPOINTS"


def root(storage: str, *, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for all checkpoints of one database; on a cluster it must be a shared one."""
    named = environment.get(VARIABLE)
    if named:
        return Path(named).resolve()
    url = urlsplit(storage)
    if url.scheme.split("+")[0] == "sqlite":
        # sqlite:///relative and sqlite:////absolute
        file = Path(unquote(url.path[1:]))
        return file.resolve().with_name(file.name + ".files") / "checkpoints"
    return Path.cwd() / "sweeper.files" / "checkpoints"


def of_pack(base: Path, *, sweep: int, pack: int) -> Path:
    """The folder of one pack's checkpoints."""
    return base / f"sweep-{sweep}" / f"pack-{pack}"


def remove(folder: Path) -> None:
    """Removes a pack's checkpoints, and the folders above that are left empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        ours = parent.name.startswith("sweep-") or parent.name.endswith(".files")
        if not ours and not parent.parent.name.endswith(".files"):
            break
        try:
            parent.rmdir()
        except OSError:  # not empty, or gone
            break

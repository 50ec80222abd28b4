"""A file system with little room, which a test fills."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE = "8m"
PAGE = b"\0" * 4096


class NoDisk(Exception):
    """Raised where no disk can be mounted; the text is the reason."""


@dataclass(frozen=True)
class Disk:
    """A small file system at `folder`."""

    folder: Path

    def fill(self) -> None:
        """Leaves no room at all."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(PAGE)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Makes room again."""
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A file system of its own at a new folder, gone afterwards.

    Raises:
        NoDisk: this user may not mount one.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "sweeper-tests", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoDisk(f"no small file system can be mounted: {error}") from error
    if mounted.returncode:
        raise NoDisk(f"no small file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

"""Starting weights from a file in the safetensors format, which holds tensors and no code.

A configuration names it as `PATH#SHA256`: whoever reads a spec adds the hash, which alone belongs
to a run's identity, and the trainer refuses a file with another content. `starting.py` loads them.
Never imports torch.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainers.blocks import ConfigError

KEY = "train.weights"
SUFFIX = ".safetensors"
LENGTH = 8  # bytes before the header, its length
MOST = 100_000_000  # bytes of a header


def pinned(value: str, folder: str = "") -> str:
    """The absolute path, relative to `folder`, with the hash of the content.

    A value that has its hash keeps it. A file that cannot be read gets none, and `check` says why.
    """
    path, _, mark = value.partition("#")
    whole = Path(folder, Path(path).expanduser()).absolute()
    return f"{whole}#{mark or _hash_of(whole)}".removesuffix("#")


def identity(value: str) -> str:
    """What decides the numbers of runs that start from the file: its content, not its place."""
    return value.rpartition("#")[2]


def check(value: str) -> None:
    """Checks that the file is there, is of the format, and has the content that was named.

    Raises:
        ConfigError: with the reason.
    """
    path, _, mark = value.partition("#")
    if not path.endswith(SUFFIX):
        reason = f"is no {SUFFIX} file, and nothing is unpickled: convert it with "
        raise ConfigError(KEY, path, f"{reason}safetensors.torch.save_file")
    found = _hash_of(Path(path))
    if not found:
        raise ConfigError(KEY, path, "cannot be read: is there such a file?")
    if found != (mark or found):
        raise ConfigError(KEY, path, "has changed since the spec was read")
    _shapes(path)


def _shapes(path: str) -> dict[str, Any]:
    """The header: names, types and shapes.

    Raises:
        ConfigError: the file is not of the format.
    """
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if length > MOST:
                raise ValueError("its header is too long")
            return json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise ConfigError(KEY, path, f"is no file of the format safetensors ({error})") from error


def _hash_of(path: Path) -> str:
    """The SHA-256 of a file's content; empty where it cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return _hashed(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _hashed(path: str, changed: int, size: int) -> str:
    del changed, size  # a file that changes is read again
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""

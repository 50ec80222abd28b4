"""Where and with which software a sweep ran; no user name, path or environment."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import sweeper
from sweeper.engine.nodes import processor

# What makes two runs of a configuration equal, and what does not.
DETERMINISM = {
    "random_numbers": "Philox by data fingerprint, replicate, stream and epoch",
    "deterministic_algorithms": False,  # torch.use_deterministic_algorithms is never called
    "cudnn_benchmark": False,  # torch's default, unchanged
}
_FIELD = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.M)
PACKAGES = ("numpy", "optuna", "ray", "scikit-learn", "sqlalchemy", "torch", "torchvision")


def collect(*, trainer: str) -> dict[str, Any]:
    """Versions (the trainer's is given), git commit, hardware of this machine, and the time."""
    return {
        "sweeper": sweeper.__version__,
        "trainer": trainer,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "lock": lock(),
        "git": _commit(),
        "determinism": DETERMINISM,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "launched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def lock() -> list[str]:
    """Every installed distribution with its version, `numpy==2.4.6`: the lock of this process."""
    named = map(_named, metadata.distributions())
    found = {f"{name}=={version}" for name, version in named if name}
    return sorted(found, key=str.lower)


def _named(one: metadata.Distribution) -> tuple[str, str]:
    """Name and version; reading the two lines takes a tenth of parsing the whole description."""
    text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
    fields = dict(_FIELD.findall(text.partition("\n\n")[0]))
    if len(fields) < 2:
        return one.name, one.version
    return fields["Name"], fields["Version"]


def spec_file(source: str) -> str:
    """The argument of `sweeper launch`, without its folder: a file, or a shipped space's name."""
    if source.startswith("<"):  # a text or a dictionary, from Python
        return ""
    path = Path(source)
    shipped = path.parent.name == "search_spaces"
    return path.stem if shipped else path.name


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of the running sources, with a + if changed; empty outside a repository."""
    folder = Path(sweeper.__file__).parent
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603  fixed words, no shell
        ["git", "-C", str(folder), *words],  # noqa: S607  the user's own git
        check=True,
        capture_output=True,
        text=True,
        timeout=5,
    )
    return done.stdout.strip()

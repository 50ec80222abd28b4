"""What must be equal on every node of a sweep, and its hardware. Imports neither Ray nor torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from trainers.identity import source, version

MISSING = "nothing"
# Each fact with its name in messages.
WORDS = {
    "python": "Python",
    "torch": "torch",
    "ray": "Ray",
    "trainer": "trainer",
    "source": "trainer source",
}


def facts() -> dict[str, str]:
    """The versions of this node, the hash of its trainer's source, and its hardware."""
    return {
        "hardware": hardware(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "ray": _version("ray"),
        "trainer": version(),
        "source": source(),
    }


def mps_runs() -> bool:
    """Whether NVIDIA's Multi-Process Service runs here, as far as its control pipe shows.

    The daemon keeps its pipes in CUDA_MPS_PIPE_DIRECTORY: https://docs.nvidia.com/deploy/mps
    """
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps"  # noqa: S108
    return (Path(folder) / "control").exists()


def hardware() -> str:
    """`AMD EPYC 7B13, 8 cores, 31 GiB`: of this machine; nothing of it has to be equal."""
    parts = [processor(), f"{os.cpu_count() or 0} cores"]
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        parts.append(f"{memory / 2**30:.0f} GiB")
    return ", ".join(part for part in parts if part)


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """A sentence for each fact that differs, such as "trainer 2 instead of 3".

    `here` is correct, `there` is the node that is compared.
    """
    return [
        f"{words} {there.get(fact, MISSING)} instead of {here.get(fact, MISSING)}"
        for fact, words in WORDS.items()
        if there.get(fact, MISSING) != here.get(fact, MISSING)
    ]


def _version(package: str) -> str:
    """The version without the build's name: the driver may have torch for CPUs."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return MISSING

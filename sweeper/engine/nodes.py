"""What must be equal on every node of a sweep. Imports neither Ray nor torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

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
    """The versions of this node, and the hash of its trainer's source."""
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "ray": _version("ray"),
        "trainer": version(),
        "source": source(),
    }


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

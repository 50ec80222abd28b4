"""What must be equal on every node that takes part in a sweep. Imports neither Ray nor torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from trainers.identity import source, version

MISSING = "nothing"
# Each fact with the words that a message uses for it.
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
    """One sentence for each fact that is not equal, such as "trainer 2 instead of 3".

    `here` is what is right, `there` the node that is compared.
    """
    return [
        f"{words} {there.get(fact, MISSING)} instead of {here.get(fact, MISSING)}"
        for fact, words in WORDS.items()
        if there.get(fact, MISSING) != here.get(fact, MISSING)
    ]


def _version(package: str) -> str:
    """The version without the name of the build: the driver may have torch for processors."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return MISSING

"""Converts the user's input to the types that the parts take; every error names the fix."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from sweeper.cli.settings import SETTINGS
from sweeper.errors import InputError, nearest
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENVIRONMENT = (
    "SWEEPER_DATA",
    "SWEEPER_TOKEN",
    "SWEEPER_SERVICE",
    "SWEEPER_NOTIFY",
    *(setting.variable for setting in SETTINGS),
)

_PASSWORD = re.compile(r"[^/]+://([^/@]*:[^/@]+@|.*[?&]\w*password=)", re.IGNORECASE)


def password_in(arguments: list[str]) -> bool:
    """Returns whether the command line holds a database password, which `ps` shows to everyone."""
    return any(_PASSWORD.match(word.removeprefix("--storage=")) for word in arguments)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A note for each SWEEPER_* variable that Sweeper does not read: probably a misspelling."""
    return [
        f"{name} is set, but Sweeper does not read it{nearest(name, ENVIRONMENT)}"
        for name in sorted(environment)
        if name.startswith("SWEEPER_") and name not in ENVIRONMENT
    ]


def one_of(option: str, word: str, valid: Iterable[str]) -> str:
    """Returns `word`, if it is valid.

    Raises:
        InputError: it is not; names the nearest valid word.
    """
    choices = [str(choice) for choice in valid]
    if word not in choices:
        raise InputError(f"{option}: {word!r} is not known{nearest(word, choices)}")
    return word


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """Returns `KEY=VALUE` words as a dictionary.

    Raises:
        InputError: a word has another form, or a key occurs twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (key and equals and value):
            raise InputError(f"{option}: {word!r} must be KEY=VALUE, such as train.batch_size=8")
        if key in found:
            raise InputError(f"{option}: {key} is named twice")
        found[key] = value
    return found


def next_commands(sweep: str, storage: str) -> list[str]:
    """The commands for a sweep that has ended; they name the database if they must."""
    where = ""
    if storage != os.environ.get("SWEEPER_STORAGE", DEFAULT_STORAGE):
        where = f" --storage {shlex.quote(storage)}" if not password_in([storage]) else ""
    name = shlex.quote(sweep)
    return [
        f"report:    sweeper report {name}{where}",
        f"dashboard: sweeper dashboard{where}",
    ]

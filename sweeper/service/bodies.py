"""Reads the parts of a request's body; every error names the key, the value and what is valid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sweeper.errors import InputError, nearest
from sweeper.states import FAILURES
from sweeper.store.service_records import Priority

CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

Body = Mapping[str, Any]


def text(body: Body, name: str, default: str | None = None) -> str:
    """A text.

    Raises:
        InputError: it is missing, without a default, or no text.
    """
    found = body.get(name, default)
    if not isinstance(found, str):
        raise InputError(f"{name}: a text is needed, not {found!r}")
    _check_storable(name, found)
    return found


def texts(body: Body, name: str, *, needed: bool = False) -> list[str]:
    """A list of texts.

    Raises:
        InputError: it is something else, or empty where it is needed.
    """
    found = body.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{name}: a list of texts is needed, such as ['train.epochs=5']")
    if needed and not found:
        raise InputError(f"{name}: nothing is given; name at least one KEY=VALUE")
    for one in found:
        _check_storable(name, one)
    return found


def _check_storable(name: str, found: str) -> None:
    """Refuses what a database, a file or a command line cannot take.

    Raises:
        InputError: the text has NUL or half of a surrogate pair.
    """
    if "\0" in found or any("\ud800" <= one <= "\udfff" for one in found):
        raise InputError(f"{name}: a text without NUL and without half characters is needed")


def priority(body: Body, *, needed: bool = False) -> Priority:
    """A priority class; normal where none is given and none is needed.

    Raises:
        InputError: there is no such class.
    """
    word = body.get("priority", None if needed else "normal")
    if not isinstance(word, str) or word not in list(Priority):
        raise InputError(f"priority: {word!r} is not known{nearest(str(word), list(Priority))}")
    return Priority(word)


def window(body: Body) -> tuple[str, ...]:
    """The start and the end of a daily window; empty for the whole day.

    Raises:
        InputError: only one is given, or one is not HH:MM, or both are the same.
    """
    start, end = text(body, "at", ""), text(body, "until", "")
    if not start and not end:
        return ()
    for name, found in (("at", start), ("until", end)):
        if not CLOCK.fullmatch(found):
            raise InputError(f"{name}: {found!r}: a time of the day is needed, such as 22:00")
    if start == end:
        raise InputError(f"until: {end!r} is the same as at; leave both out for the whole day")
    return start, end


def reasons(body: Body) -> list[str]:
    """Reasons why runs failed; empty for all.

    Raises:
        InputError: one is not known.
    """
    found = texts(body, "reasons")
    for word in found:
        if word not in FAILURES:
            raise InputError(f"reasons: {word!r} is not known{nearest(word, FAILURES)}")
    return found


def lately(body: Body) -> dict[str, float]:
    """The hours within which runs failed that are tried again; nothing for all.

    Raises:
        InputError: it is not a number above 0.
    """
    found = body.get("hours")
    if found is None:
        return {}
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise InputError(f"hours: {found!r}: a number above 0 is needed, such as 2")
    return {"hours": float(found)}


def number(words: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of a query.

    Raises:
        InputError: it is none, or has more than 18 digits.
    """
    found = words.get(name, str(default))
    if not (found.isascii() and found.isdigit() and len(found) <= 18):
        raise InputError(f"{name}: {found[:40]!r} is not a whole number from 0 on")
    return int(found)


def days(body: Body, *, needed: bool = False) -> float | None:
    """How many days something is valid; None for ever, where that is possible.

    Raises:
        InputError: it is no number above 0 and up to 3650, or it is missing where it is needed.
    """
    found = body.get("days")
    if found is None and not needed:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= 3650:
        end = "" if needed else ", or nothing for a token that does not expire"
        raise InputError(f"days: {found!r}: a number of days above 0, at most 3650{end}")
    return float(found)


def key(body: Body) -> str:
    """The idempotency key; a new one where none is given.

    Raises:
        InputError: it has another form.
    """
    found = text(body, "key", uuid4().hex)
    if not KEY.fullmatch(found):
        raise InputError(f"key: {found[:80]!r}: use 1 to 64 letters, digits, - and _")
    return found

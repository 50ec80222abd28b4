"""A problem of a spec, at its place in the file."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = object()


@dataclass(eq=False)  # not frozen, because raising sets the traceback
class Problem(Exception):
    """A problem at a path of the file; `value` is printed unless it is `NOTHING`."""

    path: tuple[str | int, ...]
    reason: str
    value: object = NOTHING

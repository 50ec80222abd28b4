"""What a shell completes: spec files, sweeps, keys for --set, reasons.

A completion never fails: where nothing can be found out, it offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweeper.errors import SweeperError
from sweeper.lookup import DEFAULT_STORAGE, shipped, specs_in

if TYPE_CHECKING:
    from pydantic import BaseModel

VARIABLE = "_SWEEPER_COMPLETE"  # set by the shell's script


def spaces(incomplete: str) -> list[str]:
    """Returns the shipped spaces that begin so."""
    return _beginning(incomplete, shipped())


def specs(incomplete: str) -> list[str]:
    """Returns shipped spaces and spec files that begin so."""
    folder = Path(incomplete if incomplete.endswith(os.sep) else Path(incomplete).parent)
    return _beginning(incomplete, [*shipped(), *specs_in(folder)])


def sweeps(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the sweeps of the database that begin so; the database is the command's own."""
    from sweeper.store.store import Store

    url = context.params.get("storage") or os.environ.get("SWEEPER_STORAGE", DEFAULT_STORAGE)
    with suppress(SweeperError), Store.open(url, create=False) as store:
        return _beginning(incomplete, [sweep.name for sweep in store.sweeps()])
    return []


def overrides(incomplete: str) -> list[str]:
    """Returns the keys of a spec that begin so, each with the = before its value."""
    from sweeper.spec.models import SpecFile

    return _beginning(incomplete, _keys(SpecFile))


def reasons(incomplete: str) -> list[str]:
    """Returns the reasons that a run can fail for and that begin so."""
    from sweeper.states import FAILURES

    return _beginning(incomplete, sorted(FAILURES))


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key below a model; a block that takes keys of any name stands for itself."""
    from sweeper.spec.phrases import block, keys

    for name, field in keys(model).items():
        inner = block(field.annotation)
        if inner is None:
            yield f"{prefix}{name}="
        else:
            yield from _keys(inner, f"{prefix}{name}.")


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]

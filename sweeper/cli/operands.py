"""Finds what `sweeper diff` compares: a file, a sweep, a cell or a shipped space."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import lookup
from sweeper.errors import InputError, StoreError, nearest
from sweeper.report.difference import Side

if TYPE_CHECKING:
    from sweeper.store.records import Cell, Sweep
    from sweeper.store.store import Store

FEWEST_DIGITS = 4
LISTED = 3
HEX = re.compile(r"[0-9a-f]+")
CONFIGURATION = {"data", "train", "evidence"}

Opens = Callable[[], AbstractContextManager["Store"]]


def side(word: str, opens: Opens) -> Side:
    """Returns the item that a word names; opens the database only if needed.

    Raises:
        InputError: there is no such item, or several cells' hashes begin with it.
    """
    if Path(word).exists():
        return _file(Path(word), word)
    spaces = lookup.shipped()
    try:
        with opens() as store:
            found = _stored(word, store)
            sweeps = [sweep.name for sweep in store.sweeps()]
    except StoreError as error:
        if word in spaces:
            return _file(spaces[word], word)
        reason = f"no such file, no shipped space, and no database to look in ({error})"
        raise InputError(f"{word!r}: {reason}") from error
    if found is not None:
        return found
    if word in spaces:
        return _file(spaces[word], word)
    known = [*sweeps, *spaces, *lookup.specs_in(Path())]
    raise InputError(
        f"{word!r}: no spec file, no sweep or cell of this database, no shipped space"
        + nearest(word, known)
    )


def _file(path: Path, label: str) -> Side:
    """A spec file, or the configuration of a run, which `sweeper best` writes."""
    from pydantic import ValidationError

    from sweeper.spec import load
    from trainers.config import Config

    content = _content(path)
    if content is None or not content or not content.keys() <= CONFIGURATION:
        return Side("spec", label, load(path).model_dump(mode="json"))
    blocks = {key: value for key, value in content.items() if key != "evidence"}
    try:
        tree = Config.model_validate(blocks).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}, not {first['input']!r}") from error
    return Side("configuration", label, tree)


def _content(path: Path) -> dict[str, Any] | None:
    """The file's keys, if it has any; its reader reports other problems."""
    from ruamel.yaml import YAML, YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None
    return content if isinstance(content, dict) else None


def _stored(word: str, store: Store) -> Side | None:
    """A sweep by its name, or a cell by the beginning of its hash."""
    sweep = store.sweep(word)
    if sweep is not None:
        return Side("spec", f"sweep {sweep.name}", sweep.spec, _facts(sweep))
    digits = word.lower()
    if len(digits) < FEWEST_DIGITS or not HEX.fullmatch(digits):
        return None
    found: dict[str, tuple[Sweep, Cell]] = {}
    for sweep in store.sweeps():
        for cell in store.cells(sweep.id):
            if cell.hash.startswith(digits):
                found.setdefault(cell.hash, (sweep, cell))
    if len(found) > 1:
        some = ", ".join(sorted(found)[:LISTED])
        raise InputError(f"{word!r}: {len(found)} cells begin so; write more digits: {some}")
    for sweep, cell in found.values():
        facts = {**_facts(sweep), "budget unit": sweep.spec.get("budget", {}).get("unit")}
        return Side("configuration", f"cell {cell.hash[:12]} of {sweep.name}", cell.config, facts)
    return None


def _facts(sweep: Sweep) -> dict[str, Any]:
    return {"data fingerprint": sweep.facts.get("fingerprint")}

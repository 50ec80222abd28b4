"""Writes the page that compares several sweeps, for `sweeper report A B`."""

from __future__ import annotations

from pathlib import Path

from sweeper import lookup
from sweeper.cli.options import opened
from sweeper.errors import InputError


def report(
    names: list[str], storage: str, *, out: Path | None, figures: str | None, force: bool
) -> None:
    """Writes the page and prints its path.

    Raises:
        InputError: figures are asked for, a sweep is not there, or the page cannot be written.
    """
    if figures is not None:
        raise InputError("--figures is for the report of one sweep")
    with opened(storage) as store:
        for name in names:
            lookup.find_sweep(store, name)
        from sweeper.report import several_page

        print(several_page.write(store, names, out=out or Path(several_page.OUT), force=force))

"""One sweep as an object: its status, its tables, its figures, its report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure as PlotlyFigure

    from sweeper.analysis.frames import Frames
    from sweeper.analysis.view import SweepView
    from sweeper.drawing.figure import Figure

ALWAYS = ("summary", "differences", "slopes", "best")  # tables of every answer, perhaps empty
RECORDED = ("cells", "runs", "final", "curves", "attempts", "correct", "stages")
NO_PLOTLY = "figures need plotly, which is not installed: pip install 'sweeper[notebook]'"


class Tables(Mapping[str, "pd.DataFrame"]):
    """Data frames by name, also as attributes: `tables.runs` is `tables["runs"]`."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __getattr__(self, name: str) -> pd.DataFrame:
        known = self.__dict__.get("_tables", {})  # not there while it is copied
        if name not in known:
            raise AttributeError(f"there is no table {name!r}{nearest(name, known)}")
        return known[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._tables]

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {len(one)} rows" for name, one in self._tables.items())


class Sweep:
    """One sweep of a database.

    It is a snapshot: it does not change after it was read. `sweeper.open` reads again, and so does
    `status` each time.

    Attributes:
        name: the sweep's name.
        storage: the URL of the database.
    """

    def __init__(self, name: str, *, storage: str) -> None:
        self.name, self.storage = name, storage

    @property
    def status(self) -> dict[str, Any]:
        """The state of the sweep and its runs, as `sweeper status --json` prints them."""
        from sweeper.lookup import find_sweep
        from sweeper.so_far import so_far
        from sweeper.status import UNTOLD, sweep_status
        from sweeper.store.store import Store

        with Store.open(self.storage, create=False) as store:
            found = sweep_status(store, find_sweep(store, self.name))
            return found | (UNTOLD if found["untold"] else so_far(store, self.name))

    @cached_property
    def frames(self) -> Tables:
        """The recorded numbers.

        cells: a row for each cell. runs: a row for each run, with the levels of its cell. epochs: a
        row for each evaluation of a run, with objective and losses. numbers: every number of the
        last evaluation of complete runs.
        """
        return Tables(_recorded(self._frames))

    @cached_property
    def answer(self) -> Tables:
        """The computed tables, as `sweeper export` writes them.

        Estimates come with their interval, the method and n. summary: a row for each cell.
        differences: from the reference level. slopes. best: the levels that may be the best. Others
        are there where the sweep allows them.
        """
        import pandas as pd

        from sweeper.report.export import tables_of

        found = tables_of(self._frames)
        tables = {name: found.get(name, pd.DataFrame()) for name in ALWAYS}
        return Tables(tables | {name: one for name, one in found.items() if name not in RECORDED})

    @property
    def figures(self) -> tuple[str, ...]:
        """The names that `figure` takes."""
        return tuple(self._drawn)

    def figure(self, name: str = "response") -> PlotlyFigure:
        """Returns a figure of the report as a plotly figure.

        Raises:
            InputError: the report has no such figure, or plotly is not installed.
        """
        if name not in self._drawn:
            raise InputError(f"{name!r}: the report has no such figure{nearest(name, self._drawn)}")
        try:
            from plotly.graph_objects import Figure as PlotlyFigure
        except ImportError as error:
            raise InputError(NO_PLOTLY) from error
        from sweeper.drawing.themes import plain

        return PlotlyFigure(plain(self._drawn[name]))

    def report(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> Path:
        """Writes the report, one self-contained page, and returns its path.

        Args:
            path: the file [NAME.html].
            force: replaces a file that is not a report of Sweeper.

        Raises:
            InputError: the file cannot be written.
        """
        from sweeper.report.page import write
        from sweeper.store.store import Store

        out = Path(f"{self.name}.html" if path is None else path)
        with Store.open(self.storage, create=False) as store:
            return write(store, self.name, out=out, force=force)

    def best(self, *, at: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns the recommended configuration with its evidence, as `sweeper best --json` does.

        Args:
            at: levels to hold, by factor: `{"data.imbalance.train_ratio": 0.1}`.

        Raises:
            InputError: nothing can be recommended.
        """
        from sweeper.topics.recommendation import text as recommended
        from sweeper.topics.recommendation.estimate import recommend

        held = {name: str(level) for name, level in (at or {}).items()}
        return recommended.document(recommend(self._view, at=held))

    def __repr__(self) -> str:
        return f"Sweep({self.name!r}, storage={_masked(self.storage)!r})"

    def _repr_html_(self) -> str:
        from sweeper.report.card import card

        return card(self._view, self._drawn.get("response"))

    @cached_property
    def _frames(self) -> Frames:
        from sweeper.analysis.frames import load
        from sweeper.store.store import Store

        with Store.open(self.storage, create=False) as store:
            return load(store, self.name)

    @cached_property
    def _view(self) -> SweepView:
        from sweeper.analysis.view import view_of

        return view_of(self._frames)

    @cached_property
    def _drawn(self) -> dict[str, Figure]:
        """The report's figures; the first figure of a section also by the section's name."""
        from sweeper.topics.registry import sections

        drawn: dict[str, Figure] = {}
        for _, part in sections(self._view):
            for at, one in enumerate(part.figures):
                drawn |= ({part.id: one} if at == 0 else {}) | {one.id: one}
        return drawn


def _masked(storage: str) -> str:
    from sweeper.store.dialects import masked

    return masked(storage)


def _recorded(frames: Frames) -> dict[str, pd.DataFrame]:
    import pandas as pd

    from sweeper.analysis.factors import column
    from sweeper.report.export import flat

    cells = frames.cells
    paths = list(dict.fromkeys(path for factors in cells["factors"] for path in factors))
    levels = pd.DataFrame({path: column(cells, path=path) for path in paths}, index=cells.index)
    about = pd.concat([cells[["role", "hidden"]], levels], axis=1)
    runs = frames.runs.join(about, on="cell")
    of_run = runs[["cell", "replicate", *paths]]
    return {
        "cells": flat(cells.drop(columns=["factors", "sweep_id"]).join(levels).reset_index()),
        "runs": flat(runs.reset_index()),
        "epochs": flat(frames.curves.join(of_run, on="run")),
        "numbers": frames.final.join(of_run, on="run"),
    }

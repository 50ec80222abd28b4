"""What a live page shows, with numbered changes: a reader names the last number that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.watch.grid import Grid

REGIONS = ("banner", "progress", "machines", "events", "commands", "foot")


@dataclass(frozen=True)
class Cursor:
    """A number of a board; another board, such as that of a restarted server, has another name."""

    board: str
    number: int

    def __str__(self) -> str:
        return f"{self.board}-{self.number}"


class PageBoard:
    """The parts of a page as text, each with the number of its last change.

    Attributes:
        number: of the last change; 0 before the first one.
    """

    def __init__(self, name: str) -> None:
        self.name, self.number = name, 0
        self._regions: dict[str, tuple[str, int]] = {}
        self._grid: Grid | None = None
        self._planned = 0  # number of the grid's plan
        self._squares: list[int] = []
        self._figures = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.name, self.number)

    @property
    def regions(self) -> dict[str, str]:
        """Each region's text."""
        return {name: text for name, (text, _) in self._regions.items()}

    @property
    def figures(self) -> int:
        """The number at which the figures were last drawn; 0 before."""
        return self._figures

    def show(self, regions: Mapping[str, str], grid: Grid | None = None) -> bool:
        """Takes the parts as they are now; returns whether anything has changed."""
        number = self.number + 1
        changed = False
        for name, text in regions.items():
            if self._regions.get(name, ("", 0))[0] != text or name not in self._regions:
                self._regions[name] = text, number
                changed = True
        if grid is not None:
            changed = self._place(grid, number) or changed
        self.number += changed
        return changed

    def redrawn(self) -> None:
        """Notes that there are new figures."""
        self.number += 1
        self._figures = self.number

    def since(self, after: Cursor | None) -> dict[str, Any]:
        """What has changed after a cursor; everything for none, or for another board's."""
        last = after.number if after and after.board == self.name else 0
        last = 0 if last > self.number else last
        found: dict[str, Any] = {
            "regions": {
                name: text for name, (text, number) in self._regions.items() if number > last
            }
        }
        if self._figures > last:
            found["figures"] = self._figures
        if self._grid is not None:
            found |= self._grid_since(self._grid, last)
        return found

    def _place(self, grid: Grid, number: int) -> bool:
        before, self._grid = self._grid, grid
        if before is None or before.plan != grid.plan or len(before.codes) != len(grid.codes):
            self._planned, self._squares = number, [number] * len(grid.codes)
            return True
        moved = grid.changes(before)
        for at in moved:
            self._squares[at] = number
        return bool(moved)

    def _grid_since(self, grid: Grid, last: int) -> dict[str, Any]:
        if self._planned > last:
            return {"plan": grid.plan, "codes": grid.codes, "shares": grid.shares}
        moved = [at for at, number in enumerate(self._squares) if number > last]
        return {"squares": {at: grid.square(at) for at in moved}} if moved else {}


def cursor(text: str | None) -> Cursor | None:
    """The cursor that a reader sent; None for anything else."""
    board, _, number = (text or "").rpartition("-")
    return (
        Cursor(board, int(number))
        if board and number.isascii() and number.isdigit() and len(number) < 16
        else None
    )

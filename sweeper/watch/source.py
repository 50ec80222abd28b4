"""Reads a database for live pages: looks at a sweep, and draws its figures. For worker threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.analysis.frames import load
from sweeper.report import page as report
from sweeper.store.glance import Glance, Glances, Pulse, Within, history, reading
from sweeper.store.reads import Reader
from sweeper.store.store import Store
from sweeper.watch import pages
from sweeper.watch.answer import answer
from sweeper.watch.grid import Grid, grid
from sweeper.watch.listing import Listing
from sweeper.watch.one_run import described
from sweeper.watch.progress import WholePlan, working
from sweeper.watch.regions import Around


@dataclass(frozen=True)
class PageState:
    """One look at a sweep: the regions of its page and its grid.

    Attributes:
        ended: differs when a run has ended, or anything else that figures show has changed.
    """

    pulse: Pulse
    alive: bool
    question: str
    regions: Mapping[str, str]
    grid: Grid
    ended: tuple[Any, ...]


class WatchedDatabase:
    """A database, read-only, for any number of pages.

    Args:
        url: of the database.
        hosts: whether pages may name machines and processes: who sees them has shown a token.
        where: the option that names the database in commands; may be empty.
        around: which other pages and commands there are.
    """

    def __init__(
        self, url: str, *, hosts: bool = False, where: str = "", around: Around = Around.NOTHING
    ) -> None:
        self.store: Store = reading(url)
        self.hosts, self.where, self.around = hosts, where, around
        self.listing = Listing(self.store)

    def close(self) -> None:
        self.store.close()


class WatchedSweep:
    """One sweep of a source, as its page needs it."""

    def __init__(self, source: WatchedDatabase, name: str) -> None:
        self.source, self.name = source, name
        self._glances = Glances(source.store.database, name)
        self._planned: WholePlan | None = None
        self._grid = Grid({})
        self._regions: dict[str, str] = {}
        self._workers = 0  # that had a pack in hand when last any had
        self._heard: dict[int, tuple[Any, float]] = {}  # pack -> its last state, and since when

    def look(self) -> PageState:
        """The sweep as it is now.

        Raises:
            SweeperError: the database does not answer, or there is no such sweep.
        """
        before = self._planned
        pulse, glance = self._glances.take(unlike=before.glance.mark if before else None)
        if glance is not None:
            self._planned = WholePlan(glance, before)
            self._grid = grid(self._planned, self._grid)
            self._hear(glance, pulse)
            self._workers = len(working(glance)) or self._workers
            self._regions = pages.regions_of(
                self._planned,
                pulse,
                workers=self._workers,
                heard={pack: at for pack, (_, at) in self._heard.items()},
                hosts=self.source.hosts,
                where=self.source.where,
                around=self.source.around,
            )
        assert self._planned is not None  # noqa: S101  the first look gives a glance
        self._regions["banner"] = pages.banner(self._planned, pulse, around=self.source.around)
        sweep = self._planned.glance.sweep
        question = sweep.question or sweep.name
        return PageState(
            pulse, sweep.alive, question, dict(self._regions), self._grid, self._ended()
        )

    def _ended(self) -> tuple[Any, ...]:
        assert self._planned is not None  # noqa: S101
        glance = self._planned.glance
        codes = glance.codes.translate({ord("r"): None, ord("."): None})
        return (len(glance.codes), codes, glance.sweep.state, len(glance.sweep.stages))

    def _hear(self, glance: Glance, pulse: Pulse) -> None:
        """Notes when each worker's pack was last heard of: when its numbers last moved."""
        for pack, attempts in working(glance).items():
            now = tuple((one.id, one.seconds, glance.epochs.get(one.run_id)) for one in attempts)
            known = self._heard.get(pack)
            if known is None:
                began = max(one.started_at.timestamp() + one.seconds for one in attempts)
                self._heard[pack] = now, min(began, pulse.at)
            elif known[0] != now:
                self._heard[pack] = now, pulse.at
        for pack in self._heard.keys() - working(glance).keys():
            del self._heard[pack]

    def draw(self) -> pages.Drawn:
        """The answer and the figures, from one consistent view of the database.

        Raises:
            SweeperError: the database does not answer.
        """
        frames = self.source.store.database.read(
            lambda connection: load(Reader(Within(connection)), self.name)
        )
        found = answer(frames)
        return pages.drawn_report(frames) if found.ended else pages.drawn(found)

    def report(self) -> str:
        """The report, one file, as `sweeper report` writes it."""
        frames = self.source.store.database.read(
            lambda connection: load(Reader(Within(connection)), self.name)
        )
        return report.html(frames)

    def run(self, run_id: int) -> dict[str, Any] | None:
        """One run in words, with its curve; None if the sweep has no such run."""
        planned = self._planned
        if planned is None or run_id not in planned.places:
            return None
        story = self.source.store.database.read(
            lambda connection: history(connection, planned.glance.sweep, run_id)
        )
        return described(planned, story, run_id, hosts=self.source.hosts)

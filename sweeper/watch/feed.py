"""Keeps a board up to date while somebody reads it, and streams its changes to every reader.

A look is taken for all readers together, at most every two seconds; figures are drawn when a run
has ended, at most every ten. Both wait longer where they cost more, so that watching takes a small
part of one processor however large the sweep is. Without readers nothing is read.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from sweeper.errors import SweeperError
from sweeper.watch import pages
from sweeper.watch.board import Cursor, PageBoard
from sweeper.watch.regions import Around
from sweeper.watch.source import PageState

T = TypeVar("T")
LOOK_S, DRAW_S = 2.0, 10.0  # at most so often
LOOK_REST, DRAW_REST = 50, 20  # rests between two, in times of what the last one took
PATIENT_S = 2.0  # a page waits so long for its first figures
PULSE_S = 15.0  # a reader hears something at least so often


class PageSource(Protocol):
    """What a feed reads: `WatchedSweep`, or a test's own."""

    name: str

    def look(self) -> PageState: ...
    def draw(self) -> pages.Drawn: ...
    def run(self, run_id: int) -> dict[str, Any] | None: ...
    def report(self) -> str: ...


@dataclass
class Pace:
    """When something may be done again: after `least` seconds, or `rest` times what it took."""

    least: float
    rest: float
    next_at: float = 0.0

    def took(self, *, began: float, seconds: float) -> None:
        """Notes how long it took this time."""
        self.next_at = began + max(self.least, self.rest * seconds)


class PageFeed:
    """One page's board and its readers."""

    def __init__(self, source: PageSource, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.source, self._clock = source, clock
        self.board = PageBoard(uuid4().hex[:8])
        self.drawn: pages.Drawn | None = None
        self.seen: PageState | None = None
        self._packed: tuple[int, bytes] = (-1, b"")
        self.readers = 0
        self._look_pace, self._draw_pace = Pace(LOOK_S, LOOK_REST), Pace(DRAW_S, DRAW_REST)
        self._looked_at = clock()
        self._drawn_for: Any = None
        self._beat = 0.0  # the driver's, that readers were told
        self._drawing: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()
        self._encoded: dict[int, bytes] = {}

    async def ready(self) -> None:
        """Takes a look unless the last one is fresh, and waits a little for the first figures.

        Raises:
            SweeperError: the database does not answer, or there is no such sweep.
        """
        await self._look()
        if self._drawing is not None and self.drawn is None:
            await asyncio.wait([self._drawing], timeout=PATIENT_S)

    def page(self, *, root: str, around: Around = Around.NOTHING) -> str:
        """The whole page, as it is now."""
        question = self.seen.question if self.seen else self.source.name
        return pages.live(
            self.board,
            name=self.source.name,
            question=question,
            made=self.drawn or pages.not_drawn(),
            root=root,
            around=around,
        )

    def figures(self) -> bytes:
        """The answer, the sections and their figures as compressed JSON; packed once a drawing."""
        number, made = self.board.figures, self.drawn or pages.not_drawn()
        if self._packed[0] != number:
            found = {
                "number": number,
                "ended": made.ended,
                "regions": made.regions,
                "figures": made.figures,
            }
            body = json.dumps(found, separators=(",", ":"), allow_nan=False)
            self._packed = number, gzip.compress(body.encode(), compresslevel=5, mtime=0)
        return self._packed[1]

    async def changes(self, after: Cursor | None) -> AsyncGenerator[bytes]:
        """Events for one reader, without end: what has changed after the last one that was sent.

        A reader that is slow gets the changes of several looks in one event.
        """
        self.readers += 1
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        try:
            known = after
            while True:
                news = self._news
                if known is None or known != self.board.cursor:
                    sent = self.board.cursor
                    yield self._event(known)
                    known = sent
                    continue
                try:
                    async with asyncio.timeout(PULSE_S):
                        await news.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.readers -= 1
            if not self.readers and self._keeper is not None:
                self._keeper.cancel()
                self._keeper = None

    @property
    def look_age_s(self) -> float:
        """Seconds since the last look began that has come to an end."""
        return self._clock() - self._looked_at

    def close(self) -> None:
        """Ends what runs."""
        for task in (self._keeper, self._drawing):
            if task is not None:
                task.cancel()

    async def _keep(self) -> None:
        """PageSource again and again while there are readers."""
        while True:
            await asyncio.sleep(max(self._look_pace.next_at - self._clock(), 0.05))
            try:
                await self._look()
            except SweeperError as error:
                self._away(str(error))

    async def _look(self) -> None:
        async with self._looking:
            if self._clock() < self._look_pace.next_at and self.seen is not None:
                return
            began = self._clock()
            seen, seconds = await asyncio.to_thread(timed, self.source.look)
            self._look_pace.took(began=began, seconds=seconds)
            self._looked_at = began
            self.seen = seen
            beaten = seen.pulse.beat != self._beat
            if self.board.show(seen.regions, seen.grid) or beaten:
                self._beat = seen.pulse.beat
                self._tell(seen)
            if seen.ended != self._drawn_for and self._clock() >= self._draw_pace.next_at:
                self._begin_drawing(seen)

    def _begin_drawing(self, seen: PageState) -> None:
        if self._drawing is None or self._drawing.done():
            self._drawing = asyncio.create_task(self._draw(seen))

    async def _draw(self, seen: PageState) -> None:
        began = self._clock()
        try:
            made, seconds = await asyncio.to_thread(timed, self.source.draw)
        except SweeperError as error:
            self._draw_pace.took(began=began, seconds=0.0)
            self._away(str(error))
            return
        self._draw_pace.took(began=began, seconds=seconds)
        self._drawn_for, self.drawn = seen.ended, made
        self.board.redrawn()
        self._tell(seen)

    def _tell(self, seen: PageState) -> None:
        """Wakes the readers; the foot names the change that it belongs to."""
        text = pages.foot(seen.pulse, number=self.board.number, alive=seen.alive)
        self.board.show({"foot": text})
        self._wake()

    def _away(self, error: str) -> None:
        """Shows why nothing new can be read."""
        if self.board.show({"banner": pages.away(error)}):
            self._wake()

    def _wake(self) -> None:
        self._encoded.clear()
        self._news.set()
        self._news = asyncio.Event()

    def _event(self, after: Cursor | None) -> bytes:
        """The event for a reader that knows `after`: most know the same number, so one is made."""
        known = after.number if after and after.board == self.board.name else 0
        if known not in self._encoded:
            found = self.board.since(after)
            if self.seen is not None:
                found |= {"at": self.seen.pulse.at, "beat": self.seen.pulse.beat}
            body = json.dumps(found, separators=(",", ":"), allow_nan=False)
            self._encoded[known] = f"id: {self.board.cursor}\ndata: {body}\n\n".encode()
        return self._encoded[known]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of `work`, and the processor time that it took in this thread."""
    began = time.thread_time()
    return work(), time.thread_time() - began

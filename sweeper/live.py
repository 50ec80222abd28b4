"""Shows a sweep's progress on stderr: a live display on a terminal, or else some lines."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.states import FINISHED, RunState

if TYPE_CHECKING:
    from sweeper.engine.progress import Event, Probing, Progress

LINE_EVERY_S = 60.0
PROBING_EVERY_S = 10.0
BAR = 40  # columns


def duration(seconds: float) -> str:
    """A duration for readers: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def time_left(progress: Progress) -> str:
    """The remaining time, with its uncertainty."""
    stage = " for this stage" if progress.may_follow else ""
    if not progress.left + progress.runs.get(RunState.RUNNING, 0):
        return f"none{stage}"
    if progress.eta_seconds is None:
        return "not known yet"
    text = f"about {duration(progress.eta_seconds)}{stage}"
    if progress.eta_low is None or progress.eta_high is None:
        return text
    return f"{text} ({duration(progress.eta_low)} to {duration(progress.eta_high)})"


def counts(progress: Progress) -> str:
    """The number of runs in each state."""
    runs = progress.runs
    parts = [
        f"{runs.get(RunState.COMPLETE, 0)} of {progress.total} runs done",
        f"{runs.get(RunState.RUNNING, 0)} running",
    ]
    parts += [
        f"{runs[state]} {state}"
        for state in (RunState.FAILED, RunState.PRUNED)
        if runs.get(state, 0)
    ]
    parts.append(f"{progress.left} left")
    if progress.may_follow:
        parts.append(f"up to {progress.may_follow} more")
    return ", ".join(parts)


class Display:
    """Shows the driver's events; enter it around the sweep.

    Args:
        name: the sweep's name.
        console: on stderr.
        clock: seconds, monotonic.
        lines: no live display, even on a terminal.
    """

    def __init__(
        self,
        name: str,
        *,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        lines: bool = False,
    ) -> None:
        self._name, self._console, self._clock = name, console, clock
        live = console.is_terminal and not console.is_dumb_terminal and not lines
        self._live = Live(console=console, refresh_per_second=4) if live else None
        self._next_line = 0.0
        self._best = ""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Shows an event: a notice at once, progress as often as the output allows."""
        if isinstance(event, str):
            self._console.print(event, markup=False, highlight=False)
        elif self._live is not None:
            self._draw(self._live, event)
        elif self._clock() >= self._next_line:
            self._write(event)

    def _draw(self, live: Live, event: Progress | Probing) -> None:
        from sweeper.engine.progress import Probing

        probing = isinstance(event, Probing)
        # Not before there is something to show, and only until the probe ends, because then the
        # driver may ask whether to start.
        live.transient = probing
        live.start()
        live.update(_probing(self._name, event) if probing else _picture(self._name, event))
        if probing and event.done == event.total:
            live.stop()

    def _write(self, event: Progress | Probing) -> None:
        from sweeper.engine.progress import Probing

        if isinstance(event, Probing):
            if event.done:
                self._next_line = self._clock() + PROBING_EVERY_S
                self._say(f"timed {event.done} of {event.total}{_now(event)}")
            return
        self._next_line = self._clock() + LINE_EVERY_S
        self._say(f"{counts(event)}; time left: {time_left(event)}")
        if event.best != self._best:
            self._best = event.best
            self._say(f"best so far: {event.best}")

    def _say(self, text: str) -> None:
        """A line with the time of day; on a narrow terminal it is indented below itself."""
        stamp = time.strftime("%H:%M:%S ")
        lines = textwrap.wrap(
            stamp + text, width=self._console.width, subsequent_indent=" " * len(stamp)
        )
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _now(event: Probing) -> str:
    return f"; now {' | '.join(event.now)}" if event.now else ""


def _probing(name: str, event: Probing) -> Group:
    return _under_a_bar(
        name,
        (event.done, event.total),
        [("timing", f"{event.done} of {event.total} kinds of runs"), *_timed_now(event)],
    )


def _timed_now(event: Probing) -> Iterator[tuple[str, str]]:
    for at, what in enumerate(event.now):
        yield ("" if at else "now", what)


def _picture(name: str, progress: Progress) -> Group:
    finished = sum(n for state, n in progress.runs.items() if state in FINISHED)
    return _under_a_bar(
        name,
        (finished, progress.total),
        [
            ("runs", counts(progress)),
            ("cells", f"{progress.cells_done} of {progress.cells} done"),
            ("best so far", progress.best or "none yet"),
            ("time left", time_left(progress)),
        ],
    )


def _under_a_bar(name: str, share: tuple[int, int], rows: list[tuple[str, str]]) -> Group:
    """The name, a bar, and rows of a word and a text; wide rows are cut, never wrapped."""
    done, total = share
    head = Table.grid(padding=(0, 2))
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_column()
    bar = ProgressBar(total=max(total, 1), completed=done, width=BAR)
    head.add_row(Text(name, style="bold"), bar)
    wide = 2 + max(len(word) for word, _ in rows)
    body = [Text(f"{word:{wide}}{text}", no_wrap=True, overflow="ellipsis") for word, text in rows]
    return Group(head, *body)

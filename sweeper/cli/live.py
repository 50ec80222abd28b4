"""Progress of a sweep on stderr: a live picture on a terminal, else one line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.states import FINISHED, RunState

if TYPE_CHECKING:
    from sweeper.engine.driver import Event, Progress

LINE_EVERY_S = 60.0


def duration(seconds: float) -> str:
    """A duration as one reads it: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def time_left(progress: Progress) -> str:
    """The time left, with its uncertainty."""
    stage = " for this stage" if progress.may_follow else ""
    if not progress.runs.get(RunState.PENDING, 0) + progress.runs.get(RunState.RUNNING, 0):
        return f"none{stage}"
    if progress.eta_seconds is None:
        return "not known yet"
    text = f"about {duration(progress.eta_seconds)}{stage}"
    if progress.eta_low is None or progress.eta_high is None:
        return text
    return f"{text} ({duration(progress.eta_low)} to {duration(progress.eta_high)})"


def counts(progress: Progress) -> str:
    """Runs by what became of them."""
    runs = progress.runs
    done = runs.get(RunState.COMPLETE, 0)
    parts = [
        f"{done} of {sum(runs.values())} runs done",
        f"{runs.get(RunState.RUNNING, 0)} running",
        f"{runs.get(RunState.FAILED, 0)} failed",
    ]
    if pruned := runs.get(RunState.PRUNED, 0):
        parts.append(f"{pruned} pruned")
    parts.append(f"{runs.get(RunState.PENDING, 0)} left")
    if progress.may_follow:
        parts.append(f"up to {progress.may_follow} more by the plan")
    return ", ".join(parts)


class Display:
    """Shows the driver's events; enter it around the sweep.

    Args:
        name: the sweep's.
        console: on stderr.
        clock: seconds, monotonic.
    """

    def __init__(
        self, name: str, *, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._console, self._clock = name, console, clock
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, refresh_per_second=4) if live else None
        self._next_line = 0.0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Show one event: a notice at once, progress as often as the output can bear."""
        if isinstance(event, str):
            self._console.print(event, markup=False, highlight=False)
        elif self._live is not None:
            # Not before there is something to show: the driver may ask whether to start.
            self._live.start()
            self._live.update(_picture(self._name, event))
        elif self._clock() >= self._next_line:
            self._next_line = self._clock() + LINE_EVERY_S
            self._console.print(_line(event), markup=False, highlight=False, soft_wrap=True)


def _line(progress: Progress) -> str:
    stamp = time.strftime("%H:%M:%S")
    best = f"; best {progress.best}" if progress.best else ""
    return f"{stamp} {counts(progress)}{best}; time left {time_left(progress)}"


def _picture(name: str, progress: Progress) -> Group:
    runs = progress.runs
    finished = sum(n for state, n in runs.items() if state in FINISHED)
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(sum(runs.values()), 1), completed=finished, width=40)
    head.add_row(Text(name, style="bold"), bar, Text(counts(progress)))
    body = Table.grid(padding=(0, 2))
    body.add_row("cells", Text(f"{progress.cells_done} of {progress.cells} done"))
    body.add_row("best so far", Text(progress.best or "none yet"))
    body.add_row("time left", Text(time_left(progress)))
    return Group(head, body)

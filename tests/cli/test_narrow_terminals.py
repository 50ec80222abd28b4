"""What is shown fits into 80 columns: cut where it must be, or broken between two words."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from sweeper.cli import show
from sweeper.engine.preview import Kind, Preview
from sweeper.engine.progress import Probing, Progress
from sweeper.live import Display
from sweeper.states import RunState

WIDTH = 80
RUNS = {
    RunState.COMPLETE: 4200,
    RunState.PENDING: 5003,
    RunState.RUNNING: 320,
    RunState.FAILED: 12,
    RunState.PRUNED: 150,
}
LEVELS = "batch_size 128, imbalance.train_ratio 0.05, augmentation trivial_augment, width 2"
PROGRESS = Progress(
    cells=1010, cells_done=420, runs=RUNS, packs=900, best=f"minority_accuracy 0.912 at {LEVELS}",
    eta_seconds=12_000.0, eta_low=10_000.0, eta_high=15_000.0, awaited=315, may_follow=4000,
)  # fmt: skip
PROBING = Probing(done=3, total=32, now=(LEVELS, "batch_size 2, imbalance.train_ratio 1"))
NAME = "a-sweep-with-a-name-that-is-as-long-as-somebody-may-find-useful-some-day"


def shown(event: Any, *, terminal: bool) -> list[str]:
    """The lines that one event leaves on a terminal, or in a file."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, force_terminal=terminal, color_system=None)
    with Display(NAME, console=console, clock=lambda: 1000.0) as display:
        display.show(event)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n").splitlines()


@pytest.mark.parametrize("event", [PROGRESS, PROBING], ids=["progress", "probe"])
@pytest.mark.parametrize("terminal", [True, False], ids=["picture", "lines"])
def test_progress_fits(event: Any, terminal: bool) -> None:
    """A picture that wraps leaves half of itself behind each time it is drawn."""
    lines = [line.rstrip() for line in shown(event, terminal=terminal)]
    assert max(map(len, lines)) <= WIDTH
    text = " ".join(" ".join(lines).split())
    expected = "3 of 32" if event is PROBING else "4200 of 10000 runs done, 320 running"
    assert expected in text


def test_a_picture_has_a_line_for_each_thing() -> None:
    """Nothing is broken over two of them."""
    lines = [line.split() for line in shown(PROGRESS, terminal=True)]
    first = [words[0] for words in lines if words]
    assert first[1:5] == ["runs", "cells", "best", "time"]


def test_the_best_cell_is_told_when_it_changes() -> None:
    """In a file a line a minute repeats nothing."""
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, width=WIDTH)
    with Display(NAME, console=console, clock=lambda: now[0]) as display:
        for _ in range(3):
            display.show(PROGRESS)
            now[0] += 60
    assert out.getvalue().count("best so far") == 1
    assert out.getvalue().count("runs done") == 3


def test_a_plan_breaks_levels_between_two_of_them() -> None:
    """A kind of runs with six levels is still a table that can be read."""
    levels = {"train.batch_size": 128, "data.imbalance.train_ratio": 0.05, "train.width": 2.0,
              "train.augmentation": "trivial_augment", "train.ssl.weight": 0.3}  # fmt: skip
    kind = Kind(levels=levels, cells=1000, runs=5000, packs=250, largest=20, gain=3.21,
                seconds=50_000.0)  # fmt: skip
    found = Preview(
        cells=1000, tuning_cells=6000, runs=11_000, packs=550, workers=16, kinds=(kind,) * 14,
        seconds=9e4, low=4e4, high=2e5, more_runs=4000, more_seconds=3e5, least_more=500,
        screened_at=2.31, evaluations=10, evaluating=0.19,
    )  # fmt: skip
    out = io.StringIO()
    show.plan(Console(file=out, width=WIDTH), "batch-size-digits", found)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= WIDTH
    for level in ("batch_size=128", "imbalance.train_ratio=0.05", "augmentation=trivial_augment"):
        assert any(level in line for line in lines)
    assert "evaluation at 10 points of each run takes 19 % of it (train.evaluations)" in lines

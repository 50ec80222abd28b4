"""Progress of a sweep whose plan may add replicates: what is shown must stay true."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import planted

from sweeper.analysis.frames import load
from sweeper.engine.progress import Best, Progress
from sweeper.live import counts, time_left
from sweeper.report.export import tables_of
from sweeper.spec import parse
from sweeper.states import RunState

SPEC = parse("name: n\nscientific:\n  train.lr: [0.1, 0.2]\n")


def progress(**given: Any) -> Progress:
    runs = {RunState.COMPLETE: 4, RunState.PENDING: 6}
    plain = {"cells": 2, "cells_done": 0, "runs": runs, "packs": 2, "best": "",
             "eta_seconds": 60.0, "eta_low": None, "eta_high": None}  # fmt: skip
    return Progress(**{**plain, **given})


def test_a_plan_that_may_go_on_says_so() -> None:
    """The time left is of this stage only, and the line says what may follow."""
    assert counts(progress(may_follow=30)).endswith("6 left, up to 30 more")
    assert time_left(progress(may_follow=30)) == "about 60 s for this stage"
    done = progress(may_follow=30, runs={RunState.COMPLETE: 10})
    assert time_left(done) == "none for this stage"


def test_a_fixed_number_of_replicates_says_nothing_of_it() -> None:
    """Nothing follows: the plain words."""
    assert counts(progress()).endswith("6 left")
    assert time_left(progress()) == "about 60 s"


def test_the_best_cell_may_lose_with_further_replicates() -> None:
    """A cell that ends a second time is judged by all of its replicates."""
    means = {1: 0.9, 2: 0.8}
    tracker: Any = SimpleNamespace(
        mean=means.get,
        cells={n: SimpleNamespace(role="report", factors={"train.lr": n / 10}) for n in (1, 2)},
    )
    best = Best(SPEC, tracker, bounded=lambda cell: ())
    best.see(1)
    best.see(2)
    assert str(best) == "minority_accuracy 0.900 at lr 0.1"
    means[1] = 0.7
    best.see(1)
    assert str(best) == "minority_accuracy 0.800 at lr 0.2"


def test_the_best_cell_satisfies_the_constraints() -> None:
    """A cell that breaks one is never the best, however good; the words say where none is left."""
    spec = parse(
        "name: n\nscientific:\n  train.lr: [0.1, 0.2]\nconstraints: {majority_accuracy: '>= 0.5'}\n"
    )
    means, bounded = {1: 0.9, 2: 0.8}, {1: [0.4], 2: [0.6]}
    tracker: Any = SimpleNamespace(
        mean=means.get,
        cells={n: SimpleNamespace(role="report", factors={"train.lr": n / 10}) for n in (1, 2)},
    )
    best = Best(spec, tracker, bounded=bounded.__getitem__)
    assert str(best) == ""
    best.see(1)
    assert str(best) == "none yet satisfies majority_accuracy >= 0.5"
    best.see(2)
    assert str(best) == "minority_accuracy 0.800 at lr 0.2"
    bounded[2] = [0.1]  # with further replicates
    best.see(2)
    assert str(best) == "none yet satisfies majority_accuracy >= 0.5"


def test_what_was_decided_is_exported() -> None:
    """A row a stage, and no table where nothing was planned."""
    made = planted.plan(replicates=3)
    frames = load(planted.Memory(made), made.sweep.name)
    stages = [
        {"plan": {"looks": [5, 9]}, "replicates": n, "ended": end, "alpha": 0.025, "facts": []}
        for n, end in ((5, ""), (9, "decided"))
    ]
    assert "stages" not in tables_of(frames)
    table = tables_of(replace(frames, sweep=replace(frames.sweep, stages=stages)))["stages"]
    assert list(table["replicates"]) == [5, 9]
    assert table["plan"][0] == '{"looks": [5, 9]}'
    assert isinstance(table, pd.DataFrame)

"""Levels that were trained less far than others are named before the answer is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.headline.answerable import unanswerable, undertrained


@pytest.mark.parametrize(
    ("path", "levels", "said"),
    [
        (planted.BATCH, [8, 32], True),
        ("train.rand_augment.strength", [3, 9], False),
        ("train.loss", ["cross_entropy", "focal"], False),
        ("train.augmentation_chance.minority", [0.5, 1.0], False),
    ],
)
def test_a_level_of_twice_the_loss_is_under_trained(path: str, levels: Any, said: bool) -> None:
    """But not where the level changes what the training loss is taken of."""
    one = planted.plan(levels={path: levels}, replicates=3)
    at = one.layout.index(("train", "loss", ""))
    for (cell, _), numbers in one.numbers.items():
        numbers[:, at] = 1.0 + 2.0 * (one.cells[cell].factors[path] == levels[1])
    view = view_of(load(planted.Memory(one), one.sweep.name))
    told = " ".join(undertrained(view))
    assert ("under-trained" in told) is said


def test_trees_are_not_what_networks_are_held_to() -> None:
    """Trees learn their rows by heart, so their training loss says nothing about a network's."""
    one = planted.plan(levels={"train.model": ["mlp", "tabm", "lightgbm"]}, replicates=3)
    at = one.layout.index(("train", "loss", ""))
    losses = {"mlp": 1.0, "tabm": 1.5, "lightgbm": 0.01}
    for (cell, _), numbers in one.numbers.items():
        numbers[:, at] = losses[one.cells[cell].factors["train.model"]]
    cells = [
        replace(c, config={**c.config, "train": {**c.config["train"], **model}})
        for c in one.cells
        if (model := {"model": c.factors["train.model"]})
    ]
    view = view_of(load(planted.Memory(replace(one, cells=cells)), one.sweep.name))
    assert list(undertrained(view)) == []


def test_the_updates_are_those_of_the_runs_in_question() -> None:
    """Where a sweep is at chance, the runs of another condition do not count."""
    one = planted.plan(truth=lambda factors: 0.05 if factors[planted.RATIO] < 1 else 0.9, noise=0.0)
    frames = load(planted.Memory(one), one.sweep.name)
    curves, cells = frames.curves, frames.cells["factors"]
    of_run = frames.runs["cell"]
    ratios = np.array([cells[int(of_run[run])][planted.RATIO] for run in curves["run"]])
    curves["step"] = np.where(ratios < 1, 60, 600)
    assert "Runs made 60 updates" in unanswerable(view_of(frames))

"""A small real sweep over each kind of lever, on images and on a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import history
import numpy as np
import pytest
from places import Place

import sweeper

IMAGES = """
name: faults
data: {dataset: digits, max_per_class: 20, imbalance: {profile: exponential, train_ratio: 0.3}}
train: {model: resnet, depth: 8, width: 0.25, epochs: 1, batch_size: 32, lr: 0.05}
compare:
  - {name: plain, train.loss: cross_entropy}
  - {name: loss, train.loss: ldam, train.head: cosine, train.class_weights.by: effective}
  - {name: sampler, train.sampler: balanced, train.augmentation: erasing+mixup}
  - {name: ssl, train.ssl.loss: byol, train.ssl.weight: 0.5, train.average.method: ema}
  - {name: sharpness, train.sam.method: imbsam, train.sam.radius: 0.1, train.accumulation: 2}
  - {name: gradient, train.gradient: class_normalised, train.shortcut: padding}
replicates: 2
resources: {workers: 1, pack: 2}
"""
TABLE = """
name: faults
data: {dataset: table, path: rows.csv, target: kind}
train: {model: mlp, epochs: 1, batch_size: 16, lr: 0.05, ssl: {weight: 0.5},
        observe: [margins, gradient_noise], margins: {samples: 2}, gradient_noise: {samples: 2}}
scientific:
  train.ssl.loss: [scarf, vime]
  train.vime.restoration: {levels: [0.0, 2.0], when: {train.ssl.loss: [vime]}}
replicates: 2
resources: {workers: 1, pack: 2}
"""


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    made: list[Place] = []

    def make(spec: str) -> Place:
        made.append(Place(tmp_path / "place", spec))
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows() -> str:
    """200 rows of three kinds, whose numbers and words depend a little on the kind."""
    source = np.random.default_rng(4)
    lines = ["size,shade,kind"]
    for i in range(200):
        kind = int(source.choice(3, p=[0.6, 0.25, 0.15])) if i > 30 else i % 3
        shade = source.choice(["red", "green", "blue"])
        lines.append(f"{source.normal(kind):.3f},{shade},kind{kind}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("spec", "cells"),
    [
        pytest.param(IMAGES, 6, id="images", marks=pytest.mark.soak),
        pytest.param(TABLE, 3, id="table"),
    ],
)
def test_a_sweep_over_each_kind_of_lever_runs(
    spec: str, cells: int, make_place: Callable[[str], Place]
) -> None:
    """Every cell is complete, with finite losses, and each lever trains in its own way."""
    place = make_place(spec)
    (place.folder / "rows.csv").write_text(rows())
    code, output = place.run()
    assert code == 0, output
    found = history.numbers(place.storage, "faults")
    assert len(found) == 2 * cells
    last = [rounds[max(rounds)] for rounds in found.values()]
    assert len(set(last)) == len(last)
    for packed in last:
        assert np.isfinite(np.frombuffer(packed, dtype="<f4")).any()
    numbers = sweeper.open("faults", storage=place.storage).frames["numbers"]
    assert ("gradient_margin" in set(numbers["metric"])) == ("observe" in spec)

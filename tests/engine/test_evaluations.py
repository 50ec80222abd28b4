"""How often a sweep's runs are evaluated: decided once, kept by its later launches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeper.engine.cells import CellMaker
from sweeper.engine.evaluations import decided, stored
from sweeper.engine.preview import _cells
from sweeper.errors import SpecError
from sweeper.spec import Spec, parse

SPEC = """
name: points
data: {dataset: digits, imbalance: {profile: exponential, train_ratio: 0.1}}
train: {model: resnet, depth: 8, width: 0.25, epochs: 30}
scientific:
  train.batch_size: [16, 32]
replicates: 2
"""


def number(text: str, before: Spec | None = None) -> int | None:
    spec = parse(text)
    row = None if before is None else json.loads(before.model_dump_json())
    return decided(spec, CellMaker(spec), before=row).train.evaluations


def launched(text: str, evaluations: int) -> Spec:
    """The spec of an earlier launch, as the database has it."""
    return parse(text).evaluated(evaluations)


def test_every_cell_of_a_sweep_has_the_same_number_and_says_so() -> None:
    """Curves of different cells have their points at the same shares of the budget."""
    spec = parse(SPEC + "nuisance:\n  train.lr: [0.01, 0.1, 1.0]\n")
    maker = CellMaker(spec)
    found = _cells(decided(spec, maker, before=None), maker)
    assert len(found) == 8
    assert {cell.config["train"]["evaluations"] for cell in found} == {number(SPEC)}


def test_what_the_spec_says_is_taken() -> None:
    """Whatever it costs, and whatever was there before."""
    said = SPEC.replace("epochs: 30", "epochs: 30, evaluations: 30")
    assert number(said) == 30
    assert number(said, launched(SPEC, 4)) == 30


@pytest.mark.parametrize(
    "change",
    [("[16, 32]", "[8, 16, 32, 64]"), ("replicates: 2", "replicates: 9"), ("resnet", "resnet")],
)
def test_a_later_launch_keeps_the_number(change: tuple[str, str]) -> None:
    """More levels or replicates must not make new cells of those that are there."""
    assert number(SPEC.replace(*change), launched(SPEC, 7)) == 7


@pytest.mark.parametrize(
    "change", [("epochs: 30", "epochs: 2"), ("train_ratio: 0.1", "train_ratio: 1.0")]
)
def test_another_training_or_other_data_choose_anew(change: tuple[str, str]) -> None:
    """Its cells are new in any case, and two points of a former budget would be too few."""
    now = SPEC.replace(*change)
    assert number(now, launched(SPEC, 7)) == number(now) != 7


def test_data_that_have_moved_are_the_same_data() -> None:
    """A path is no identity."""
    moved = launched(SPEC, 7)
    data = moved.data.model_copy(update={"path": "/elsewhere"})
    assert number(SPEC, moved.model_copy(update={"data": data})) == 7


def test_a_pruner_can_decide_before_the_last_evaluation() -> None:
    """The number follows the first decision, and a kept one that is too small is named."""
    pruned = SPEC + "pruner: {method: asha, min_evaluations: 12}\n"
    assert number(pruned) == 13
    with pytest.raises(SpecError, match=r"min_evaluations: 12: .* evaluated 7 times"):
        number(pruned, launched(SPEC, 7))


def test_an_adaptive_search_is_judged_by_what_its_cells_share() -> None:
    """Its cells are not known before it asks for them."""
    adaptive = SPEC + "search: {method: tpe, trials: 4}\n"
    assert number(adaptive) in range(3, 11)


def test_without_a_database_there_is_nothing_to_keep(tmp_path) -> None:
    """Neither a missing file nor an empty one is an error: the first launch makes it."""
    assert stored(f"sqlite:///{tmp_path}/none.db", "points") is None
    (tmp_path / "empty.db").touch()
    assert stored(f"sqlite:///{tmp_path}/empty.db", "points") is None


def test_the_number_is_in_the_sweeps_row(tmp_path, monkeypatch: Any) -> None:
    """A launch keeps what it has decided before anything is trained."""
    from sweeper.engine import driver
    from sweeper.engine.launching import Launch

    url = f"sqlite:///{tmp_path}/a.db"
    monkeypatch.setattr(Launch, "missing", lambda self: False)
    driver.launch(parse(SPEC), storage=url)
    row = stored(url, "points")
    assert row is not None
    assert row.spec["train"]["evaluations"] == number(SPEC)

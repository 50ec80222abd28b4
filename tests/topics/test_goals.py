"""Several objectives and constraints: in the report and in `best`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import BATCH, Memory, Plan, plan

from sweeper.analysis.frames import load
from sweeper.analysis.view import SweepView, view_of
from sweeper.errors import InputError
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.goals import section
from sweeper.topics.goals.estimate import Goals, build
from sweeper.topics.headline.text import lead
from sweeper.topics.headline.unfinished import best
from sweeper.topics.recommendation.estimate import recommend
from sweeper.topics.recommendation.text import document

BOTH = [
    {"metric": name, "direction": "maximize", "split": None, "unit": None}
    for name in ("minority_accuracy", "majority_accuracy")
]


def place(one: Plan, split: str, metric: str) -> int:
    return one.layout.index((split, metric, ""))


def minority(factors: Mapping[str, Any]) -> float:
    return 0.8 - 0.05 * abs(np.log2(factors[BATCH]) - 3)


def traded(*, noise: float = 0.001, **goals: Any) -> Plan:
    """The majority gains where the minority loses; the largest batch is bad for both."""
    one = plan(truth=minority, noise=noise)
    rng, largest = np.random.default_rng(0), max(cell.factors[BATCH] for cell in one.cells)
    for (cell, _), numbers in one.numbers.items():
        level = one.cells[cell].factors[BATCH]
        value = 0.1 if level == largest else 0.5 + 0.05 * np.log2(level)
        for split in ("val", "test"):
            at = place(one, split, "majority_accuracy")
            numbers[:, at] = value + noise * rng.standard_normal()
    return replace(one, sweep=replace(one.sweep, spec={**one.sweep.spec, **goals}))


def view(one: Plan) -> SweepView:
    return view_of(load(Memory(one), one.sweep.name))


def found(one: Plan) -> Goals:
    goals = view(one).of(build)
    assert goals is not None
    return goals


def loop(goals: Goals, factors: Any) -> set[int]:
    """The Pareto set by a double loop, at each imbalance by itself."""
    allowed = [one for one in goals.candidates if one.allowed]
    means = {one.cell: tuple(seen.value for seen in one.chosen) for one in allowed}
    ratio = {cell: factors[cell]["data.imbalance.train_ratio"] for cell in means}
    return {
        c
        for c in means
        if not any(
            ratio[d] == ratio[c]
            and all(x >= y for x, y in zip(means[d], means[c], strict=True))
            and means[d] != means[c]
            for d in means
        )
    }


def test_the_pareto_set_is_that_of_a_double_loop() -> None:
    """Chosen on val; a cell that is clearly worse in both is not within noise of it."""
    goals = found(traded(objectives=BOTH))
    one = traded(objectives=BOTH)
    front = {c.cell for c in goals.candidates if c.front}
    assert front == loop(goals, {at + 1: cell.factors for at, cell in enumerate(one.cells)})
    assert 0 < len(front) < len(goals.candidates)
    assert front <= {c.cell for c in goals.candidates if c.near}
    assert not all(c.near for c in goals.candidates)


def test_under_noise_no_cell_is_ruled_out() -> None:
    """A cell is left out only where intervals show another to be better in every objective."""
    assert all(c.near for c in found(traded(noise=0.5, objectives=BOTH)).candidates)


def test_best_lists_the_pareto_set_and_takes_the_first_objective() -> None:
    """The evidence has each cell with both objectives on val and on test."""
    one = traded(objectives=BOTH)
    made = recommend(view(one))
    alone = recommend(view(traded()))
    assert made.hash == alone.hash
    assert not alone.pareto
    listed = document(made)["evidence"]["pareto_set"]
    assert made.hash[:12] in {each["cell"][:12] for each in listed}
    assert set(listed[0]["validation"]) == {"minority accuracy", "majority accuracy"}
    assert "pareto_set" not in document(alone)["evidence"]


def test_only_cells_that_satisfy_are_recommended() -> None:
    """The bound is on the mean over replicates on val, as a share."""
    bound = {"majority_accuracy": ">= 0.68"}
    made = recommend(view(traded(constraints=bound)))
    goals = found(traded(constraints=bound))
    allowed = {c.cell for c in goals.candidates if c.allowed}
    assert 0 < len(allowed) < len(goals.candidates)
    assert made.levels[BATCH] > recommend(view(traded())).levels[BATCH]
    assert document(made)["evidence"]["constraints"] == ["majority_accuracy >= 0.68"]


def test_where_no_cell_satisfies_none_is_recommended() -> None:
    """The message names the constraint, and the page says so too."""
    one = traded(constraints={"majority_accuracy": ">= 0.99"})
    with pytest.raises(InputError, match=r"no cell satisfies majority_accuracy >= 0\.99"):
        recommend(view(one))
    made = section.section(view(one))
    assert made is not None
    assert made.intro.startswith("No cell satisfies majority_accuracy >= 0.99")


def test_a_level_that_breaks_a_constraint_is_not_taken() -> None:
    """Levels are compared among those that satisfy; the headline names the others and why."""
    one = view(traded(constraints={"majority_accuracy": ">= 0.6"}))  # 0.55, 0.65, 0.75 and 0.1
    made = best_levels.question(one)
    assert made is not None
    assert [level.value for level in made.levels] == [8, 32]
    assert made.pairs.family == 1
    told = lead(one).headline
    assert "take batch size 8" in told
    assert told.endswith(
        "Batch size 2 and 128 break majority_accuracy >= 0.6 by their means on val, and are left "
        "out."
    )
    rows = best_levels.rows([made])
    assert list(rows["level"][rows["verdict"] == "breaks majority_accuracy >= 0.6"]) == [2, 128]


def test_where_one_level_satisfies_it_is_taken_and_where_none_does_none() -> None:
    """No interval is needed for the one; for none the headline recommends nothing."""
    made = view(traded(constraints={"majority_accuracy": ">= 0.68"}))
    assert "take batch size 32, which alone is within the bounds." in lead(made).headline
    answer = lead(view(traded(constraints={"majority_accuracy": ">= 0.99"})))
    assert answer.headline.endswith(
        "no batch size satisfies majority_accuracy >= 0.99 by its mean on val: none is recommended."
    )
    assert "take" not in answer.headline
    assert answer.badge == "none satisfies"


def test_the_best_so_far_satisfies_the_constraints() -> None:
    """And says that none does, where none does."""
    free, bound = best(view(traded())), {"majority_accuracy": ">= 0.68"}
    told = best(view(traded(constraints=bound)))
    assert told.endswith("of the cells that satisfy majority_accuracy >= 0.68")
    assert told.split(" (")[0] != free.split(" (")[0]
    none = best(view(traded(constraints={"majority_accuracy": ">= 0.99"})))
    assert none == "no cell satisfies majority_accuracy >= 0.99"


def test_the_figure_has_every_cell_and_the_front() -> None:
    """Both objectives on val with their intervals; the front joins the set at each condition."""
    one = view(traded(objectives=BOTH, constraints={"majority_accuracy": ">= 0.5"}))
    goals, made = one.of(build), section.section(one)
    assert goals is not None
    assert made is not None
    [figure] = made.figures
    marks = {trace["name"]: trace for trace in figure.data if "markers" in trace["mode"]}
    assert sum(len(trace["x"]) for trace in marks.values()) == len(goals.candidates)
    front = [c for c in goals.candidates if c.front]
    drawn = marks[section.PARETO]
    assert drawn["x"] == pytest.approx([c.chosen[0].value for c in front], abs=1e-2)
    assert drawn["error_y"]["array"] == pytest.approx(
        [c.chosen[1].high - c.chosen[1].value for c in front], abs=1e-2
    )
    lines = [trace for trace in figure.data if trace["mode"] == "lines"]
    assert sorted(x for trace in lines for x in trace["x"]) == sorted(drawn["x"])
    assert len(lines) == len({c.apart for c in front})
    assert len([c for c in goals.candidates if not c.allowed]) == len(marks[section.BROKEN]["x"])


def test_the_methods_say_how_the_set_was_found() -> None:
    """One sentence for constraints, one for several objectives, none without either."""
    said = section.TOPIC.methods
    assert list(said(view(traded()))) == []
    both = view(traded(objectives=BOTH, constraints={"majority_accuracy": ">= 0.5"}))
    told = " ".join(said(both))
    assert "left out before levels and cells were compared" in told
    assert "within noise of the set unless" in told
    assert any("has majority accuracy too" in text for text in lead(both).more)

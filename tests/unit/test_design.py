"""Factors become cells: all of them, once, in a fixed order, the same on every machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper import design, spec
from sweeper.spec import factors as f
from sweeper.spec.factors import NuisanceRange, Range
from trainers.config import Config

HEAD = "name: n\nscientific:\n"
CONDITIONAL = HEAD + (
    "  train.sam.asymmetry: {levels: [0.0, 0.5, 1.0], when: {train.sam.radius: [0.1, 0.2]}}\n"
    "  train.batch_size: [2, 8]\n"
    "  train.sam.radius: [0.0, 0.1, 0.2]\n"
)
SAMPLED = HEAD + (
    "  train.batch_size: [2, 8, 32]\n"
    "  train.lr: {low: 0.01, high: 1.0, log: true}\n"
    "  train.lr_batch: {low: 1, high: 100}\n"
    "search: {method: %s, trials: %d, seed: %d}\n"
)


def levels(text: str) -> list[dict[str, object]]:
    return [cell.factors for cell in design.designs(spec.parse(text))]


def test_a_factorial_is_every_combination_in_the_order_of_the_file() -> None:
    """The last factor turns fastest, as in nested loops."""
    text = HEAD + "  train.batch_size: [8, 2]\n  train.width: [1.0, 0.5, 2.0]\n"
    expected = [
        {"train.batch_size": b, "train.width": w} for b, w in product([8, 2], [1.0, 0.5, 2.0])
    ]
    assert levels(text) == expected


def test_a_cells_configuration_has_its_levels() -> None:
    """What is run is what the cell is named after."""
    for cell in design.designs(spec.parse(CONDITIONAL)):
        assert cell.config.train.batch_size == cell.factors["train.batch_size"]
        assert cell.config.train.sam.radius == cell.factors["train.sam.radius"]
        assert cell.config.train.sam.asymmetry == cell.factors.get("train.sam.asymmetry", 0.0)


def test_a_conditional_factor_counts_only_under_its_condition() -> None:
    """Radius 0 has one cell, not one for each asymmetry that it would ignore."""
    found = [tuple(one.items()) for one in levels(CONDITIONAL)]
    expected = {
        tuple(
            ([("train.sam.asymmetry", a)] if r else [])
            + [("train.batch_size", b), ("train.sam.radius", r)]
        )
        for a, b, r in product([0.0, 0.5, 1.0], [2, 8], [0.0, 0.1, 0.2])
    }
    assert len(found) == len(expected) == 14
    assert set(found) == expected


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("{low: 0.1, high: 0.5, step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("{low: 0.1, high: 0.55, step: 0.2}", [0.1, 0.3, 0.5]),
        ("{low: 0.001, high: 1, levels: 4, log: true}", [0.001, 0.01, 0.1, 1.0]),
        ("{low: 1, high: 2, levels: 3}", [1.0, 1.5, 2.0]),
    ],
)
def test_a_range_has_its_ends_and_round_levels(factor: str, expected: list[float]) -> None:
    """0.1 + 2 x 0.1 is 0.3, in the table and in the cell's identity."""
    assert [one["train.lr"] for one in levels(f"{HEAD}  train.lr: {factor}\n")] == expected


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("{low: 2, high: 16, levels: 4, log: true}", [2, 4, 8, 16]),
        ("{low: 1, high: 4, levels: 9, log: true}", [1, 2, 3, 4]),
        ("{low: 4, high: 16, step: 4}", [4, 8, 12, 16]),
    ],
)
def test_whole_factors_stay_whole_and_repeat_nothing(factor: str, expected: list[int]) -> None:
    """A batch of 5.66 samples is rounded; two that round alike are one level."""
    found = [one["train.batch_size"] for one in levels(f"{HEAD}  train.batch_size: {factor}\n")]
    assert found == expected
    assert all(type(one) is int for one in found)


@pytest.mark.parametrize(
    "text", [CONDITIONAL, SAMPLED % ("qmc", 20, 0), SAMPLED % ("random", 9, 1)]
)
def test_the_count_is_the_number_of_cells(text: str) -> None:
    """`plan` promises it before anything is built."""
    assert design.count(spec.parse(text)) == len(levels(text))


def test_an_adaptive_search_counts_its_trials_and_has_no_list() -> None:
    """Its cells are asked for one by one."""
    found = spec.parse(SAMPLED % ("tpe", 7, 0))
    assert design.count(found) == 7
    with pytest.raises(ValueError, match="one by one"):
        design.designs(found)


def test_counting_makes_no_list() -> None:
    """Case 10: 10^18 combinations are a product; a list of them would never end."""
    wide = {str(i): tuple(range(1000)) for i in range(6)}
    assert f.count(wide) == 10**18


@pytest.mark.parametrize("method", ["qmc", "random"])
@pytest.mark.parametrize("seed", [0, 7])
def test_more_trials_only_add_cells(method: str, seed: int) -> None:
    """A sweep that goes on keeps what it has run."""
    few, many = (levels(SAMPLED % (method, n, seed)) for n in (5, 150))
    assert many[:5] == few
    assert len(many) == 150


@pytest.mark.parametrize("method", ["qmc", "random"])
def test_the_seed_chooses_the_cells(method: str) -> None:
    """Two seeds are two samples of one space."""
    assert levels(SAMPLED % (method, 8, 0)) != levels(SAMPLED % (method, 8, 1))


@pytest.mark.parametrize("method", ["qmc", "random"])
def test_sampled_cells_do_not_repeat(method: str) -> None:
    """A small space is run through once, then there is nothing more to sample."""
    text = HEAD + "  train.batch_size: [2, 8, 32]\n  train.width: [1.0, 2.0]\n"
    found = levels(f"{text}search: {{method: {method}, trials: 50}}\n")
    assert len(found) == 6 == len({tuple(one.items()) for one in found})


def test_sobol_points_are_balanced() -> None:
    """Each of four levels gets eight of 32 points: Sobol points are used for that."""
    text = HEAD + (
        "  train.batch_size: [2, 4, 8, 16]\n  train.lr: {low: 0.01, high: 1.0, log: true}\n"
        "search: {method: qmc, trials: 32}\n"
    )
    found = levels(text)
    for size in (2, 4, 8, 16):
        assert sum(one["train.batch_size"] == size for one in found) == 8
    for low, high in ((0.01, 0.1), (0.1, 1.0)):
        assert sum(low <= float(str(one["train.lr"])) < high for one in found) == 16


def test_sampled_levels_are_within_their_factors() -> None:
    """Ends included; whole where the field is."""
    for one in levels(SAMPLED % ("random", 300, 3)):
        assert one["train.batch_size"] in (2, 8, 32)
        assert 0.01 <= float(str(one["train.lr"])) <= 1.0
        assert type(one["train.lr_batch"]) is int
        assert 1 <= one["train.lr_batch"] <= 100


@settings(max_examples=200)
@given(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_every_position_of_a_whole_range_is_inside(
    low: int, span: int, log: bool, uniform: float
) -> None:
    """Rounding never leaves the range."""
    factor = Range(low=low, high=low + span, log=log, when={})
    level = f.pick(factor, uniform)
    assert isinstance(level, int)
    assert low <= level <= low + span


def test_the_same_candidates_for_every_cell() -> None:
    """Levels tuned with different trials could not be compared."""
    text = HEAD + (
        "  train.batch_size: [2, 8]\n"
        "nuisance:\n  train.lr: {low: 0.01, high: 1.0, log: true, trials: 3}\n"
    )
    found = spec.parse(text)
    for cell in design.designs(found):
        candidates = design.candidates(found, cell)
        assert [one.factors["train.lr"] for one in candidates] == [0.01, 0.1, 1.0]
        assert [one.config.train.lr for one in candidates] == [0.01, 0.1, 1.0]
        assert all(one.factors.items() >= cell.factors.items() for one in candidates)


def test_several_nuisances_are_sobol_points() -> None:
    """A grid of two would take the square of the trials; the larger number counts."""
    text = HEAD + (
        "  train.batch_size: [2, 8]\n"
        "nuisance:\n  train.lr: {low: 0.01, high: 1.0, log: true, trials: 8}\n"
        "  train.momentum: [0.0, 0.9]\n"
    )
    found = spec.parse(text)
    [one, two] = [design.candidates(found, cell) for cell in design.designs(found)]
    points = [(c.factors["train.lr"], c.factors["train.momentum"]) for c in one]
    assert points == [(c.factors["train.lr"], c.factors["train.momentum"]) for c in two]
    assert len(set(points)) == 8
    assert sum(momentum == 0.9 for _, momentum in points) == 4
    assert sum(rate < 0.1 for rate, _ in points) == 4


def test_without_nuisances_a_cell_is_its_own_candidate() -> None:
    """Nothing to tune."""
    found = spec.parse(CONDITIONAL)
    cell = next(design.designs(found))
    assert design.candidates(found, cell) == [cell]


def test_log_grid_is_even_in_the_logarithm() -> None:
    """Against numbers worked out by hand."""
    grid = f.spread(NuisanceRange(low=0.02, high=0.5, log=True, trials=4), 4)
    steps = [math.log(b / a) for a, b in pairwise(grid)]
    assert steps == pytest.approx([math.log(25) / 3] * 3)


def hash_of(**changes: object) -> str:
    parts: dict[str, object] = {
        "config": Config(), "budget": "epochs", "fingerprint": "ab", "trainer_version": "1",
    }  # fmt: skip
    parts |= changes
    return design.cell_hash(**parts)  # pyright: ignore[reportArgumentType]


def test_a_cells_identity_is_config_budget_data_and_trainer() -> None:
    """Any of the four makes another cell; the name and the question of the sweep do not."""
    other = Config.model_validate({"train": {"sam": {"radius": 0.1}}})
    changed = [
        hash_of(),
        hash_of(config=other),
        hash_of(budget="steps"),
        hash_of(fingerprint="cd"),
        hash_of(trainer_version="2"),
    ]
    assert len(set(changed)) == 5
    assert all(len(one) == 64 for one in changed)


def test_identity_does_not_depend_on_how_the_config_was_written() -> None:
    """A default that is written out is the same cell."""
    assert hash_of(config=Config.model_validate({"train": {"lr": 0.1}})) == hash_of()


def test_cells_are_the_same_in_another_process() -> None:
    """Neither hash seed nor import order plays a part: a sweep may go on on another machine."""
    code = (
        "import sys\nfrom sweeper import design, spec\n"
        "found = spec.parse(sys.argv[1])\n"
        "for one in design.designs(found):\n"
        "    print(design.cell_hash(one.config, 'epochs', 'x', '1'), design.pack_key(one.config))\n"
    )
    text = SAMPLED % ("qmc", 6, 0)
    here = [
        f"{design.cell_hash(cell.config, 'epochs', 'x', '1')} {design.pack_key(cell.config)}"
        for cell in design.designs(spec.parse(text))
    ]
    ran = subprocess.run(
        [sys.executable, "-c", code, text],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "42", "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert ran.stdout.split("\n")[:-1] == here


def test_pack_keys_join_what_one_pack_can_train() -> None:
    """Learning rates may differ within a pack, batch sizes may not."""
    base = Config().model_dump(mode="json")

    def key(**train: object) -> str:
        return design.pack_key(json.loads(json.dumps(base | {"train": base["train"] | train})))

    assert key(lr=0.3) == key(lr=0.01) == design.pack_key(Config())
    assert key(batch_size=2) != key(batch_size=4)

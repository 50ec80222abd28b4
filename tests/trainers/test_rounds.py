"""When a run is evaluated: at shares of its budget, and never so often that it is dear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_packs import config, images, pack, parameters_of, same, table

from trainers.config import Config
from trainers.loop import RoundResult
from trainers.rounds import Timetable, chosen

CIFAR10 = {"train": [4250] * 10, "val": [750] * 10, "test": [1000] * 10}


def facts(counts: dict[str, list[int]] = CIFAR10, kind: str = "image") -> dict[str, Any]:
    classes = [f"c{n}" for n in range(10)]
    return {"counts": counts, "kind": kind, "classes": classes, "shape": [3, 32, 32]}


def run(*, ratio: float = 0.01, **train: Any) -> Config:
    imbalance = {"profile": "exponential", "train_ratio": ratio}
    return Config.model_validate({"data": {"imbalance": imbalance}, "train": train})


def timetable(samples: int = 100, **train: Any) -> Timetable:
    one = run(batch_size=10, **train)
    return Timetable.of(one, evaluations=one.evaluations, samples=samples)


@pytest.mark.parametrize(
    ("epochs", "evaluations", "points"),
    [
        (30, 10, (3, 6, 9, 12, 15, 18, 21, 24, 27, 30)),
        (25, 10, (2, 5, 7, 10, 12, 15, 17, 20, 22, 25)),
        (30, 1, (30,)),
        (4, 10, (1, 2, 3, 4)),
        (7, 3, (2, 4, 7)),
    ],
)
def test_an_epoch_budget_is_evaluated_at_equal_shares_and_at_its_end(
    epochs: int, evaluations: int, points: tuple[int, ...]
) -> None:
    """A round stays an epoch; more evaluations than epochs are one an epoch."""
    found = timetable(epochs=epochs, evaluations=evaluations)
    assert found.points == points
    assert found.rounds == epochs
    assert [found.end(n) for n in range(1, epochs + 1)] == [10 * n for n in range(1, epochs + 1)]


@pytest.mark.parametrize("steps", [7, 100, 1003, 5000])
@pytest.mark.parametrize("evaluations", [1, 3, 10])
@pytest.mark.parametrize("samples", [100, 3000])
def test_a_round_of_a_step_budget_is_at_most_an_epoch(
    steps: int, evaluations: int, samples: int
) -> None:
    """Evaluations are at equal shares; between them are rounds of an epoch, or 1,000 samples."""
    found = timetable(samples, steps=steps, evaluations=evaluations)
    ends = [0, *(found.end(n) for n in range(1, found.rounds + 1))]
    lengths = np.diff(ends)
    assert lengths.min() >= 1
    assert lengths.max() <= max(samples, 1000) / 10
    evaluated = [ends[n] for n in range(1, found.rounds + 1) if found.evaluation(n)]
    number = min(evaluations, steps)
    assert evaluated == [part * steps // number for part in range(1, number + 1)]


@pytest.mark.parametrize("budget", [{"epochs": 11}, {"steps": 1100}])
def test_going_on_skips_no_evaluation_and_repeats_none_for_ever(budget: dict[str, int]) -> None:
    """From any recorded epoch the next evaluation lies ahead, and all before are recorded."""
    found = timetable(evaluations=4, **budget)
    for number, point in enumerate((0, *found.points)):
        last = found.before_next(found.epoch(point))
        assert found.evaluation(last) in (0, number)
        following = found.points[number] - 1 if number < 4 else found.rounds
        assert last == following
    assert [found.evaluation(point) for point in found.points] == [1, 2, 3, 4]


def test_what_is_recorded_is_the_epoch_or_the_evaluation() -> None:
    """An epoch budget counts epochs; the steps between two evaluations have no number."""
    epochs, steps = timetable(epochs=9, evaluations=3), timetable(steps=900, evaluations=3)
    assert [epochs.epoch(n) for n in (2, 3, 4, 9)] == [2, 3, 4, 9]
    assert [steps.epoch(n) for n in (1, 2, 3, 4, 9)] == [0, 0, 1, 1, 3]


# E = val + test + subset, T = 3 subset epochs: forward passes of samples, by hand.
@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"epochs": 30}, 8),  # 30 x 3 x 10,543 / (4 x 28,043) = 8.5
        ({"epochs": 200}, 10),
        ({"epochs": 8}, 3),  # 2.3 fit; three at least
        ({"epochs": 2}, 2),
        ({"epochs": 30, "sam": {"radius": 0.1}}, 10),  # twice the work of training
        ({"epochs": 8, "ssl": {"weight": 0.1}}, 6),  # three times
        ({"epochs": 8, "norm_statistics": "running"}, 3),  # 17,500 in place of 28,043: 3.6
        ({"epochs": 12, "norm_statistics": "running"}, 5),  # 5.4
        ({"epochs": 12, "norm": "group"}, 5),
        ({"steps": 2490, "batch_size": 128}, 8),  # as 30 epochs of 83 batches
        ({"steps": 2}, 2),
    ],
)
def test_evaluation_takes_a_fifth_of_the_work_at_most(train: dict[str, Any], expected: int) -> None:
    """Ten points, fewer where they would cost more, three in any case."""
    assert chosen([run(**train)], facts()) == expected


def test_one_number_serves_all_cells_of_a_sweep() -> None:
    """It follows from their work together; a cell that cannot run has no say."""
    cheap, dear = run(epochs=30, ratio=1.0), run(epochs=30, ratio=0.01)
    assert chosen([dear], facts()) == 8
    assert chosen([cheap, dear], facts()) == 10
    assert chosen([dear, run(epochs=500, batch_size=1)], facts()) == 8
    assert chosen([dear], facts(), least=9) == 9


SAME = [
    pytest.param({"epochs": 6}, id="epochs"),
    pytest.param({"steps": 17}, id="steps"),
    pytest.param({"epochs": 5, "sam": {"radius": 0.1, "asymmetry": 1.0}}, id="sam"),
    pytest.param({"epochs": 5, "norm": "group", "optimizer": "adamw", "lr": 0.01}, id="group norm"),
    pytest.param({"epochs": 5, "norm_statistics": "running"}, id="running statistics"),
    pytest.param({"epochs": 5, "model": "mlp"}, id="table"),
]


@pytest.mark.parametrize("train", SAME)
def test_the_last_values_do_not_depend_on_how_often_a_run_is_evaluated(
    train: dict[str, Any],
) -> None:
    """Parameters, numbers and single answers are the same to the bit."""
    ends = []
    for evaluations in (1, 2, 1000):
        settings = config(**train, evaluations=evaluations)
        trainer = pack(table() if "model" in train else images(), settings, settings)
        rounds = [trainer.train_round() for _ in range(trainer.rounds)]
        evaluated = [one for one in rounds if one[0].numbers is not None]
        assert len(evaluated) == min(evaluations, trainer.config.budget)
        ends.append((trainer, rounds[-1]))
    (first, expected), *others = ends
    for trainer, results in others:
        assert same(parameters_of(trainer, 1), parameters_of(first, 1))
        val_and_test = [_later_splits(one.numbers) for one in (*results, *expected)]
        assert val_and_test[:2] == val_and_test[2:]
        assert [one.correct for one in results] == [one.correct for one in expected]


@pytest.mark.parametrize("budget", [{"epochs": 6}, {"steps": 200}])
@pytest.mark.parametrize("norm_statistics", ["clean", "running"])
def test_the_same_bits_come_after_an_interruption_between_two_evaluations(
    budget: dict[str, int], norm_statistics: str
) -> None:
    """A state of a round without an evaluation lacks nothing that training goes on from."""
    settings = config(**budget, evaluations=2, norm_statistics=norm_statistics)
    whole, first, second = (pack(images(), settings, settings) for _ in range(3))
    cut = whole.timetable.points[0] - 1
    expected = [whole.train_round() for _ in range(whole.rounds)]
    for _ in range(cut):
        assert first.train_round()[0].numbers is None
    second.load_state(*first.state())
    rest = [second.train_round() for _ in range(second.rounds - cut)]
    for ours, theirs in zip(rest, expected[cut:], strict=True):
        assert [_bits(one) for one in ours] == [_bits(one) for one in theirs]
    assert same(parameters_of(second, 1), parameters_of(whole, 1))


def _bits(one: RoundResult) -> tuple[object, ...]:
    return one.round, one.step, None if one.numbers is None else one.numbers.tobytes(), one.correct


def _later_splits(numbers: np.ndarray | None) -> bytes:
    """Without the training split, which is that of the last round: rounds of steps differ."""
    assert numbers is not None
    return numbers[len(numbers) // 3 :].tobytes()


def test_divergence_is_found_in_the_round_where_it_happens() -> None:
    """It does not wait for the next evaluation, and has no numbers where there is none."""
    trainer = pack(images(), *[config(epochs=6, evaluations=1)] * 2)
    assert [r.finite for r in trainer.train_round()] == [True, True]
    trainer.pack.parameters.blocks()["head.weight"][1] = float("nan")
    results = trainer.train_round()
    assert [r.finite for r in results] == [True, False]
    assert [r.numbers for r in results] == [None, None]


def test_without_a_number_the_trainer_chooses_it() -> None:
    """`sweeper train` has no sweep that decides: its own data and budget do."""
    trainer = pack(images(), config(epochs=40, evaluations=None))
    assert len(trainer.timetable.points) == chosen([trainer.config], images().facts)


def test_a_timing_has_the_share_of_the_evaluations_that_there_will_be() -> None:
    """The same steps with half as many evaluations: half the share, up to the clock's noise."""
    often = pack(images(), config(epochs=1, evaluations=1))
    seldom = pack(images(), config(epochs=1000, evaluations=1))
    for trainer in (often, seldom):
        trainer._seconds = lambda work: (work(), 1.0)[1]  # each part takes a second
    assert often.time_steps(2) == (0.5, pytest.approx(_judged(often) / often.steps))
    assert seldom.time_steps(2) == (0.5, pytest.approx(_judged(seldom) / seldom.steps))
    assert seldom.steps == 1000 * often.steps


def _judged(trainer: Any) -> float:
    """Seconds of an evaluation, if 12 of its 27 samples and a first part take a second each."""
    samples, _ = next(trainer._subset_batches())
    return 27 / 12 + sum(trainer.counts) / samples

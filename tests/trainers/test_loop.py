"""Training a pack: rounds, resumption, members that leave, and runs that diverge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import (
    apart,
    config,
    images,
    numbers_of,
    pack,
    parameters_of,
    same,
    table,
    train_steps,
)
from torch import Tensor

from trainers import checkpoint, loop
from trainers.__main__ import main
from trainers.config import Config
from trainers.feed import Batch
from trainers.loop import PackTrainer, RoundResult
from trainers.losses.cross_entropy import CrossEntropy
from trainers.metrics import layout, measure
from trainers.pack import LossTerms
from trainers.ssl.simclr import simclr

LEVERS = [
    pytest.param({}, id="sgd"),
    pytest.param({"optimizer": "adamw", "lr": 0.01, "norm": "group"}, id="adamw"),
    pytest.param(
        {"sam": {"radius": 0.1, "asymmetry": 1.0}, "ssl": {"weight": 0.2},
         "augmentation": "flip_crop+mixup", "smoothing": {"minority": 0.2},
         "norm_statistics": "running"},
        id="everything",
    ),
    pytest.param({"steps": 13, "evaluations": 3, "augmentation": "trivial_augment"}, id="steps"),
]  # fmt: skip


def finish(trainer: PackTrainer) -> list[list[RoundResult]]:
    return [trainer.train_round() for _ in range(trainer.rounds - trainer.round)]


def test_a_fixed_draw_gives_every_replicate_the_same_samples() -> None:
    """Replicate 0's; starts and orders differ still."""
    drawn = config()
    block = {**drawn.data.imbalance.model_dump(), "draw": "fixed"}
    fixed = Config.model_validate({"data": {"imbalance": block}, "train": drawn.train.model_dump()})
    ones = [pack(images(), one, one, one, replicates=(2, 0, 1)) for one in (drawn, fixed)]
    seen = [[set(map(int, subset)) for subset in one._subsets] for one in ones]
    assert seen[0][0] != seen[0][1] != seen[0][2]
    assert seen[1] == [seen[0][1]] * 3
    assert not same(parameters_of(ones[1], 0), parameters_of(ones[1], 1))


def equal(one: list[RoundResult], other: list[RoundResult]) -> bool:
    """Whether two rounds are the same to the bit."""
    return len(one) == len(other) and all(
        (a.member, a.round, a.step, a.finite) == (b.member, b.round, b.step, b.finite)
        and (numbers_of(a).tobytes(), a.correct) == (numbers_of(b).tobytes(), b.correct)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("train", LEVERS)
def test_the_same_pack_gives_the_same_bits_across_an_interruption(
    train: dict[str, Any], tmp_path
) -> None:
    """Built again, and gone on from a checkpoint of round 1, every number is the same."""
    settings = config(**{"epochs": 3} | train)
    whole = pack(images(), settings, settings)
    expected = finish(whole)
    first = pack(images(), settings, settings)
    assert equal(first.train_round(), expected[0])
    checkpoint.save(tmp_path, 1, *first.state())
    found = checkpoint.latest(tmp_path)
    assert found is not None
    second = pack(images(), settings, settings)
    second.load_state(*found[1:])
    assert second.round == 1
    rest = finish(second)
    assert all(equal(a, b) for a, b in zip(rest, expected[1:], strict=True))
    assert same(parameters_of(second, 1), parameters_of(whole, 1))


@pytest.mark.parametrize("train", LEVERS)
def test_a_member_leaves_and_the_others_go_on_as_they_would(train: dict[str, Any]) -> None:
    """Optimizer, statistics and draws of the rest stay theirs; results keep their member."""
    settings = config(**{"epochs": 2, "precision": "float64"} | train)
    members = [settings.model_copy(deep=True) for _ in range(3)]
    whole, left = pack(images(), *members), pack(images(), *members)
    whole.train_round()
    left.train_round()
    left.drop(1)
    assert left.alive == [0, 2]
    results = left.train_round()
    expected = whole.train_round()
    assert [r.member for r in results] == [0, 2]
    for place, member in enumerate((0, 2)):
        assert apart(parameters_of(left, place), parameters_of(whole, member)) < 1e-9
        ours, theirs = numbers_of(results[place]), numbers_of(expected[member])
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)


ON_ANOTHER_WORKER = """
import json
import sys
import torch
from small_packs import config, images, pack
torch.manual_seed(5)
trainer = pack(images(), *[config(**json.loads(sys.argv[1]))] * 2)
while trainer.round < trainer.rounds:
    results = trainer.train_round()
print(trainer.pack.parameters.data.numpy().tobytes().hex())
print(b"".join(r.numbers.tobytes() for r in results).hex())
"""


@pytest.mark.parametrize("train", LEVERS[2:3])
def test_the_same_pack_gives_the_same_bits_in_another_process(train: dict[str, Any]) -> None:
    """Neither hash seeds, nor global random states, nor what ran before have a say."""
    settings = config(**train)
    here = pack(images(), settings, settings)
    expected = finish(here)[-1]
    code = [sys.executable, "-c", ON_ANOTHER_WORKER, json.dumps(train)]
    environment = os.environ | {
        "PYTHONHASHSEED": "77",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    done = subprocess.run(code, capture_output=True, check=True, text=True, env=environment)
    parameters, numbers = (bytes.fromhex(line) for line in done.stdout.split())
    assert parameters == here.pack.parameters.data.numpy().tobytes()
    assert numbers == b"".join(numbers_of(result).tobytes() for result in expected)


@pytest.mark.parametrize("train", LEVERS)
def test_a_state_after_a_drop_loads_into_the_whole_pack(train: dict[str, Any]) -> None:
    """The job has the composition; the checkpoint has the members that are left."""
    settings = config(**{"epochs": 3} | train)
    first = pack(images(), settings, settings, settings)
    first.train_round()
    first.drop(0)
    first.train_round()
    second = pack(images(), settings, settings, settings)
    second.load_state(*first.state())
    assert second.alive == [1, 2]
    assert equal(first.train_round(), second.train_round())


def test_a_state_of_another_pack_is_refused() -> None:
    """A checkpoint of other members or of another network is an error, not a start."""
    other = pack(images(), config(width=0.5)).state()
    with pytest.raises(ValueError, match=r"other tensors .*: optimizer.momentum, p"):
        pack(images(), config()).load_state(*other)


def test_members_of_a_pack_share_their_key() -> None:
    """Runs that differ in more than a member may cannot be trained together."""
    with pytest.raises(ValueError, match="pack key"):
        pack(images(), config(), config(width=0.5))


def test_the_last_member_does_not_leave() -> None:
    """A pack of nobody has nothing to report: the caller ends it instead."""
    with pytest.raises(ValueError, match="without members"):
        pack(images(), config()).drop(0)


def poison(trainer: PackTrainer, member: int, value: float) -> None:
    trainer.pack.parameters.blocks()["head.weight"][member] = value


def test_divergence_is_reported_and_stays_with_its_member() -> None:
    """NaN weights end one run; its neighbours' numbers are what they would have been."""
    settings = config()
    trainer, healthy = (pack(images(), *[settings] * 3) for _ in range(2))
    poison(trainer, 1, float("nan"))
    results, expected = trainer.train_round(), healthy.train_round()
    assert [r.finite for r in results] == [True, False, True]
    for member in (0, 2):
        assert equal([results[member]], [expected[member]])


def test_a_gradient_of_nothing_is_no_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is flat teaches nothing, and that is a result: every round is finite."""
    flat = lambda self, logits, targets, progress: (0 * logits).sum(-1) + 1  # noqa: E731
    monkeypatch.setattr(CrossEntropy, "__call__", flat)
    trainer = pack(images(), config())
    assert [r.finite for round in finish(trainer) for r in round] == [True, True]


def test_an_infinite_loss_is_divergence() -> None:
    """Logits may be finite and the loss not: a probability of exactly 0 for the truth."""
    trainer = pack(images(), config(optimizer="sgd", lr=1e-30), config(lr=1e-30))
    infinite = lambda z, t, n: z.sum(-1) * torch.tensor([[1.0], [float("inf")]])  # noqa: E731
    trainer.objective._loss = infinite  # type: ignore[assignment]
    assert [r.finite for r in trainer.train_round()] == [True, False]


def test_nan_on_the_validation_split_alone_is_divergence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Statistics may overflow in evaluation only; that run has no value either."""
    trainer = pack(images(), config(), config())
    real = trainer.pack.evaluate

    def broken(x: Tensor) -> Tensor:
        logits = real(x)
        if logits.shape[1] == 12:
            logits[0, 3, 1] = float("nan")
        return logits

    monkeypatch.setattr(trainer.pack, "evaluate", broken)
    assert [r.finite for r in trainer.train_round()] == [False, True]


def test_a_parameter_that_no_logit_shows_is_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last update may break the projector alone, which evaluation does not pass through."""
    settings = config(ssl={"weight": 0.1})
    trainer = pack(images(), settings, settings)
    real = trainer.update

    def broken_by_the_last_one(batch: Batch) -> tuple[LossTerms, Tensor]:
        terms = real(batch)
        if trainer.step == trainer.timetable.end(1):
            trainer.pack.parameters.blocks()["projector.second.bias"][1] = float("nan")
        return terms

    monkeypatch.setattr(trainer, "update", broken_by_the_last_one)
    assert [r.finite for r in trainer.train_round()] == [True, False]


def test_a_rate_far_too_high_is_reported_not_raised() -> None:
    """A real divergence continues to the end of the round, and is reported as a divergence."""
    trainer = pack(images(), config(lr=1e20, norm="none"), config(norm="none"))
    assert [r.finite for r in trainer.train_round()] == [False, True]


def test_rounds_of_a_step_budget_end_at_equal_shares() -> None:
    """Thirteen updates seen three times: after 4, 8 and 13 of them, across epochs."""
    trainer = pack(images(), config(steps=13, evaluations=3))
    assert [r[0].step for r in finish(trainer) if r[0].numbers is not None] == [4, 8, 13]
    assert trainer.rounds == 3


def test_numbers_follow_the_layout() -> None:
    """Each round has one number for each name, and the supports are the splits' own."""
    data = images()
    (result,) = pack(data, config(ratio=1.0)).train_round()
    names = layout(data.classes)
    assert numbers_of(result).shape == (len(names),)
    found = dict(zip(names, numbers_of(result).tolist(), strict=True))
    supports = [found[split, "support", "class:c0"] for split in ("train", "val", "test")]
    assert supports == [20, 4, 5]


def test_without_validation_there_are_no_numbers_of_it() -> None:
    """Training and test numbers are those of the run with a validation split, to the bit."""
    whole = images()
    bare = replace(
        whole,
        x={split: whole.x[split] for split in ("train", "test")},
        y={split: whole.y[split] for split in ("train", "test")},
    )
    (with_val,) = pack(whole, config()).train_round()
    (without,) = pack(bare, config()).train_round()
    names = layout(whole.classes, bare.y)
    assert {split for split, _, _ in names} == {"train", "test"}
    kept = [name in names for name in layout(whole.classes)]
    assert np.array_equal(numbers_of(with_val)[kept], numbers_of(without), equal_nan=True)


def test_training_metrics_are_of_the_batches_as_trained() -> None:
    """They are measured on each batch before its update: no second pass over the data."""
    settings = config(augmentation="flip_crop")
    trainer, again = pack(images(), settings), pack(images(), settings)
    (result,) = trainer.train_round()
    logits, labels = [], []
    for batch in again.feed.batches(0, again.feed.epoch_steps):
        terms, _ = again.update(batch)
        logits.append(terms.logits.detach())
        labels.append(batch.labels)
    expected = measure(torch.cat(logits, 1), torch.cat(labels, 1), again.counts)[0].numpy()
    assert np.array_equal(numbers_of(result)[: len(expected)], expected, equal_nan=True)


@pytest.mark.parametrize("size", [7, 43, 128])
@pytest.mark.parametrize("train", [{}, {"model": "mlp"}])
def test_clean_statistics_are_those_of_the_whole_subset(
    monkeypatch: pytest.MonkeyPatch, size: int, train: dict[str, Any]
) -> None:
    """The first norm's statistics, pooled over evaluation batches, are the subset's own moments."""
    data = table() if train else images()
    trainer = pack(data, *[config(precision="float64", **train)] * 2)
    monkeypatch.setattr(loop, "STATISTICS_SAMPLES", size)
    train_steps(trainer, 3)
    trainer.evaluate()
    index = trainer.feed.subset_index
    x = trainer.feed.enter(trainer.pool.encode(trainer.pool.raw("train", index)))
    views = trainer.pack.parameters.views
    if train:
        inner, name, dims = (
            torch.baddbmm(views["hidden0.bias"], x, views["hidden0.weight"]),
            "hidden0.norm",
            (1,),
        )
    else:
        inner = torch.conv2d(x, views["stem.weight"], None, 1, 1, 1, 2)
        name, dims = "stem.norm", (0, 2, 3)
    mean, var = trainer.pack.statistics.views[name]
    assert torch.allclose(mean, inner.mean(dims).flatten(), atol=1e-12)
    assert torch.allclose(var, inner.var(dims, correction=0).flatten(), atol=1e-12)


def test_joint_ssl_adds_its_loss_on_two_views() -> None:
    """What is minimised is the mean loss of view 0 plus weight times SimCLR on views 1 and 2."""
    trainer = pack(images(), config(ssl={"weight": 0.7, "temperature": 0.2}, precision="float64"))
    batch = next(trainer.feed.batches(0, 1))
    assert batch.views is not None
    u, v = trainer.pack.ssl_outputs(batch.views, {})
    assert u.shape == (1, 8, 128)
    logits = trainer.pack.logits(batch.x, moving=False)[0]
    supervised = torch.nn.functional.cross_entropy(logits, batch.labels[0])
    expected = supervised + 0.7 * simclr(u, v, 0.2)[0]
    _, objective = trainer.update(batch)
    assert float(objective[0]) == pytest.approx(float(expected.detach()), rel=1e-12)


def test_ssl_views_do_not_move_running_statistics() -> None:
    """After one update they have seen view 0 alone, as without SSL."""
    joint = pack(images(), config(ssl={"weight": 1.0}, norm_statistics="running"))
    plain = pack(images(), config(norm_statistics="running"))
    train_steps(joint, 1)
    train_steps(plain, 1)
    assert torch.equal(joint.pack.statistics.mean, plain.pack.statistics.mean)
    assert torch.equal(joint.pack.statistics.var, plain.pack.statistics.var)


def test_ssl_of_weight_zero_is_the_run_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws no view, has no projector, and gives the same bits."""
    zero = pack(images(), config(ssl={"weight": 0.0, "batch_multiple": 4}))
    plain = pack(images(), config())
    monkeypatch.setattr(zero.pack, "ssl_outputs", None)
    assert zero.pack.parameters.count == plain.pack.parameters.count
    assert equal(zero.train_round(), plain.train_round())


@pytest.mark.parametrize("train", LEVERS)
def test_timing_steps_leaves_no_trace(train: dict[str, Any]) -> None:
    """The probe may time a trainer that then trains."""
    timed, plain = (pack(images(), config(**train)) for _ in range(2))
    assert min(timed.time_steps(5)) > 0
    assert (timed.step, timed.round) == (0, 0)
    assert equal(timed.train_round(), plain.train_round())


def test_what_neighbours_take_of_a_processor_is_not_in_a_timing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one thread, a step that waits long for its turn costs what it computes."""
    timed = pack(images(), config())
    before, update = torch.get_num_threads(), timed.update
    torch.set_num_threads(1)
    wait = 10 * sum(timed.time_steps(1)) + 0.1

    def waits(batch: Any) -> Any:
        time.sleep(wait)
        return update(batch)

    monkeypatch.setattr(timed, "update", waits)
    try:
        assert sum(timed.time_steps(1)) < wait
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("data", [images(channels=3, pixels=12), table()])
def test_training_learns(data: Any) -> None:
    """A few epochs fit classes that differ by a pattern."""
    train = {"model": "mlp"} if data.kind == "table" else {"width": 0.5}
    results = finish(pack(data, config(epochs=8, ratio=1.0, **train)))
    place = layout(data.classes).index(("train", "accuracy", ""))
    first, last = (numbers_of(results[at][0])[place] for at in (0, -1))
    assert last > max(first, 0.7)


def test_batch_size_one_trains_with_group_norm() -> None:
    """One sample an update is allowed where no norm needs two."""
    results = pack(images(), config(batch_size=1, norm="group", lr=0.01)).train_round()
    assert results[0].step == 44
    assert results[0].finite


def test_one_run_can_be_trained_from_the_command_line(tmp_path, capsys) -> None:
    """`python -m trainers` prints a line of JSON a round, and 2 with one line for bad input."""
    good = tmp_path / "run.yaml"
    good.write_text("train: {width: 0.1, epochs: 1, batch_size: 256}\n")
    assert main([str(good)]) == 0
    assert '"test.balanced_accuracy"' in capsys.readouterr().out
    good.write_text("train: {batch_size: 4000}\n")
    assert main([str(good)]) == 2
    assert "train.batch_size: 4000 is more than" in capsys.readouterr().err


def test_what_cannot_be_saved_or_is_not_here_is_told_before_training(tmp_path, capsys) -> None:
    """A folder that cannot be made, or a GPU that is not there, is no reason to train first."""
    good, out = tmp_path / "run.yaml", Path("/proc/model")
    good.write_text("train: {width: 0.1, epochs: 1, batch_size: 256}\n")
    cases = {"--out": str(out)} | ({} if torch.cuda.is_available() else {"--device": "cuda"})
    for option, value in cases.items():
        assert main([str(good), option, value]) == 2
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
        assert f"{option}: '{value}'" in printed.err


def test_the_loop_reads_nothing_back_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of a tensor is asked for between the updates: on a GPU that would wait for it."""
    trainer = pack(images(), config(sam={"radius": 0.1}, ssl={"weight": 0.1}))

    def asked(*_: Any) -> None:
        raise AssertionError("a step read a tensor's value")

    batches = list(trainer.feed.batches(0, trainer.feed.epoch_steps))
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__bool__", "__float__", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, asked)
        for batch in batches:
            trainer.update(batch)
    assert trainer.step == len(batches)

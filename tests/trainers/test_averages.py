"""Averages of weights: against loops by hand, and what is evaluated, saved and left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, numbers_of, pack, parameters_of, same, train_steps
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from trainers.data.unseen import Samples
from trainers.loop import PackTrainer, RoundResult
from trainers.saved import load, save

EXACT: dict[str, Any] = {"precision": "float64"}
EPOCH = 6  # batches of 8 of the 44 samples
METHODS: dict[str, dict[str, Any]] = {
    "ema": {"method": "ema", "decay": 0.9},
    "swa": {"method": "swa", "start": 0.4},
}


def numbers(trainer: PackTrainer, member: int) -> np.ndarray:
    """A member's parameters and running statistics, in one row."""
    parts = [kept.layout.select(kept.tensor, [member]) for kept in trainer.pack.state.values()]
    return torch.cat(parts).numpy().copy()


def averaged(trainer: PackTrainer, member: int) -> np.ndarray:
    """The averages of the same numbers, in the same order."""
    kept = trainer.averages.state
    names = [f"average.{name}" for name in trainer.pack.state]
    return torch.cat([kept[n].layout.select(kept[n].tensor, [member]) for n in names]).numpy()


def test_ema_is_the_loop_by_hand_with_each_member_s_own_decay() -> None:
    """average <- d average + (1 - d) weights, d = min(decay, (1 + t) / (10 + t)), from update 1."""
    decays = [0.5, 0.15, 0.999]  # the first two are reached, the third is not
    runs = [config(**EXACT, average={"method": "ema", "decay": d}) for d in decays]
    trainer = pack(images(), *runs)
    expected = [numbers(trainer, k) for k in range(3)]
    for t in range(1, 13):
        train_steps(trainer, 1)
        for k, decay in enumerate(decays):
            d = min(decay, (1 + t) / (10 + t))
            expected[k] = d * expected[k] + (1 - d) * numbers(trainer, k)
            assert np.allclose(averaged(trainer, k), expected[k], rtol=1e-12, atol=1e-14)


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_late_epochs() -> None:
    """With start 0.4 those of epochs 3, 4 and 5 of 5, equal to torch's AveragedModel."""
    run = config(**EXACT, epochs=5, average={"method": "swa", "start": 0.4})
    trainer = pack(images(), run, run)
    module = torch.nn.ParameterList([trainer.pack.parameters.data])
    official, ends = AveragedModel(module), list[list[np.ndarray]]()
    for epoch in range(1, 6):
        train_steps(trainer, EPOCH)
        if epoch > 2:
            official.update_parameters(module)
            ends.append([numbers(trainer, k) for k in range(2)])
            for k in range(2):
                mean = np.mean([end[k] for end in ends], axis=0)
                assert np.allclose(averaged(trainer, k), mean, rtol=1e-12, atol=1e-14)
    ours = trainer.averages.state["average.parameters"].tensor
    (theirs,) = official.module.parameters()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_swa_has_no_average_before_its_start() -> None:
    """Until then the weights themselves are evaluated."""
    trainer = pack(images(), config(epochs=5, average={"method": "swa", "start": 0.4}))
    for _ in range(2):
        trainer.train_round()
        own = trainer.pack.parameters.data.clone()
        with trainer.evaluated():
            assert torch.equal(trainer.pack.parameters.data, own)
    trainer.train_round()
    train_steps(trainer, 1)
    own = trainer.pack.parameters.data.clone()
    with trainer.evaluated():
        assert not torch.equal(trainer.pack.parameters.data, own)


@pytest.mark.parametrize("statistics", ["clean", "running"])
@pytest.mark.parametrize("method", METHODS)
def test_an_average_does_not_change_the_training(method: str, statistics: str) -> None:
    """Weights are equal to the bit after three epochs, each evaluated."""
    settings: dict[str, Any] = {"epochs": 3, "norm_statistics": statistics}
    with_it = pack(images(), config(average=METHODS[method], **settings))
    without = pack(images(), config(**settings))
    ours = [with_it.train_round()[0] for _ in range(3)]
    plain = [without.train_round()[0] for _ in range(3)]
    assert same(parameters_of(with_it, 0), parameters_of(without, 0))
    assert numbers_of(ours[-1]).tobytes() != numbers_of(plain[-1]).tobytes()
    if statistics == "running":
        assert np.array_equal(numbers(with_it, 0), numbers(without, 0))


def trained(method: str, statistics: str) -> tuple[PackTrainer, PackTrainer, list[RoundResult]]:
    """A trained pack of two with an average, one without whose weights are the average, results."""
    settings: dict[str, Any] = {"epochs": 3, "norm_statistics": statistics}
    rates, results = (0.05, 0.02), list[RoundResult]()
    trainer = pack(images(), *(config(average=METHODS[method], lr=r, **settings) for r in rates))
    while trainer.round < trainer.rounds:
        results = trainer.train_round()
    other = pack(images(), *(config(lr=r, **settings) for r in rates))
    for name, kept in other.pack.state.items():
        kept.tensor.copy_(trainer.averages.state[f"average.{name}"].tensor)
    return trainer, other, results


def contents(trainer: PackTrainer) -> dict[str, Tensor]:
    return {name: kept.tensor.clone() for name, kept in trainer.pack.state.items()}


@pytest.mark.parametrize("statistics", ["clean", "running"])
@pytest.mark.parametrize("method", METHODS)
def test_evaluation_is_that_of_the_average_and_puts_the_weights_back(
    method: str, statistics: str
) -> None:
    """Logits are those of a network with these weights; what the pack trains is as before."""
    trainer, other, _ = trained(method, statistics)
    before = contents(trainer)
    ours, theirs = trainer.evaluate(), other.evaluate()
    assert all(torch.equal(ours[split], theirs[split]) for split in theirs)
    assert same(contents(trainer), before)
    assert not torch.equal(before["parameters"], other.pack.parameters.data)


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_run_or_pack_is_evaluated_with_its_average_at_once(method: str) -> None:
    """Without another update: after a resume, and after a member has left."""
    trainer, _, _ = trained(method, "clean")
    expected = trainer.evaluate()["test"]
    again = pack(images(), *(member.config for member in trainer.members))
    again.load_state(*trainer.state())
    assert torch.equal(again.evaluate()["test"], expected)
    again.drop(0)
    torch.testing.assert_close(again.evaluate()["test"][0], expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_model_is_the_average_with_its_own_clean_statistics(
    method: str, tmp_path: Path
) -> None:
    """Read back from the files, either member gives the logits of its evaluation."""
    data = images()
    trainer, other, results = trained(method, "clean")
    expected = other.evaluate()["test"]
    clean = other.pack.statistics.layout.split(other.pack.statistics.var)
    for k, result in enumerate(results):
        save(tmp_path / str(k), trainer, data, result)
        model = load(tmp_path / str(k))
        weights = {name: block[0] for name, block in model.pack.parameters.blocks().items()}
        assert same(weights, parameters_of(other, k))
        kept = model.pack.statistics
        found = {name: var[0] for name, var in kept.layout.split(kept.var).items()}
        assert same(found, {name: var[k] for name, var in clean.items()})
        samples = Samples(data.x["test"], None, data.y["test"], np.arange(15))
        torch.testing.assert_close(model.logits(samples), expected[k], rtol=1e-4, atol=1e-5)

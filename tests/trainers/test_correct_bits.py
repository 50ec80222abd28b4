"""Which test examples a run has right: one bit each, from the evaluation that there is anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, numbers_of, pack, table

from trainers.loop import PackTrainer, RoundResult
from trainers.metrics import layout

PACKS = [
    pytest.param(images(), {}, id="images"),
    pytest.param(table(), {"model": "mlp"}, id="table"),
    pytest.param(images(), {"norm_statistics": "running", "precision": "float64"}, id="running"),
]


def last_round(trainer: PackTrainer) -> list[RoundResult]:
    """The results of the last round; those before it carry no bits."""
    while trainer.round < trainer.rounds - 1:
        assert all(one.correct is None for one in trainer.train_round())
    return trainer.train_round()


def bits_of(result: RoundResult, count: int) -> np.ndarray:
    """Bit e of the record is bit e % 8, from the lowest, of byte e // 8."""
    assert result.correct is not None
    assert len(result.correct) == -(-count // 8)
    return np.array([result.correct[e // 8] >> (e % 8) & 1 for e in range(count)])


@pytest.mark.parametrize(("data", "train"), PACKS)
def test_the_bits_are_those_of_predictions_made_again(data: Any, train: dict[str, Any]) -> None:
    """In the data set's own order of the test split, for every member of a pack."""
    trainer = pack(data, config(**train), config(lr=0.2, **train))
    results = last_round(trainer)
    logits = trainer.evaluate()["test"].numpy()
    for place, result in enumerate(results):
        again = logits[place].argmax(axis=1) == data.y["test"]
        assert bits_of(result, len(again)).tolist() == again.astype(int).tolist()
    assert len({result.correct for result in results}) == 2


@pytest.mark.parametrize(("data", "train"), PACKS)
def test_recalls_follow_from_the_bits(data: Any, train: dict[str, Any]) -> None:
    """Class by class, what was recorded as recall is the mean of the class's bits."""
    (result,) = last_round(pack(data, config(**train)))
    bits, labels = bits_of(result, len(data.y["test"])), data.y["test"]
    for label, name in enumerate(data.classes):
        recorded = numbers_of(result)[
            layout(data.classes).index(("test", "recall", f"class:{name}"))
        ]
        assert recorded == np.float32(bits[labels == label].mean())


def test_the_numbers_are_as_long_as_ever() -> None:
    """The bits travel to the host beside the numbers, and leave them as they were."""
    trainer = pack(images(), config())
    lengths = {len(numbers_of(trainer.train_round()[0])) for _ in range(trainer.rounds)}
    assert lengths == {len(layout(images().classes))}


def test_nothing_is_read_back_for_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last round copies to the host as often as the first: each copy would wait for a GPU."""
    trainer, copies = pack(images(), config()), []
    inner = {name: getattr(torch.Tensor, name) for name in ("cpu", "tolist", "item")}
    for name, method in inner.items():

        def counting(self: Any, *given: Any, method: Any = method) -> Any:
            copies.append(1)
            return method(self, *given)

        monkeypatch.setattr(torch.Tensor, name, counting)
    seen = []
    for _ in range(trainer.rounds):
        copies.clear()
        trainer.train_round()
        seen.append(len(copies))
    assert seen[-1] == seen[0] > 0


def test_a_run_that_diverges_in_its_last_round_has_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not finite predicts nothing."""
    trainer = pack(images(), config(epochs=1), config(epochs=1))
    evaluate = trainer.pack.evaluate

    def broken(x: torch.Tensor) -> torch.Tensor:
        logits = evaluate(x)
        if logits.shape[1] == len(trainer.pool.y["test"]):
            logits[1, 0, 0] = float("inf")
        return logits

    monkeypatch.setattr(trainer.pack, "evaluate", broken)
    first, second = trainer.train_round()
    assert (first.finite, second.finite) == (True, False)
    assert first.correct is not None
    assert second.correct is None

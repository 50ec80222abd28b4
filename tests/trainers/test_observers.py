"""Observers: exact on a linear network and on planted noise, and they change no training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from small_packs import config, images, numbers_of, pack, parameters_of, same, table
from torch import Tensor

from trainers import catalogue
from trainers.catalogue import Entry
from trainers.config import Config, ConfigError
from trainers.data.dataset import Dataset, table_dataset
from trainers.groups import class_groups
from trainers.loop import Member, PackTrainer
from trainers.metrics import layout
from trainers.models.module import network
from trainers.observers.margins import first_change

BOTH = ("margins", "gradient_noise")


def column(trainer: PackTrainer, result: Any, split: str, metric: str, target: str) -> float:
    names = layout(CLASSES, trainer.pool.y, trainer.config.train.observe)
    return float(numbers_of(result)[names.index((split, metric, target))])


CLASSES = ("c0", "c1", "c2")


def last(trainer: PackTrainer) -> Any:
    result = None
    while trainer.round < trainer.rounds:
        result = trainer.train_round()
    return result


class TestMarginsOfALinearNetwork:
    """A network without a hidden layer: z = W h + b, so that borders are planes."""

    @pytest.mark.parametrize("kind", ["feature", "gradient"])
    def test_the_first_order_margin_is_the_distance_of_the_nearest_plane(self, kind: str) -> None:
        trainer, (result, _) = linear()
        x, y, w, b = numbers(trainer)
        for label in range(3):
            z = x[y == label] @ w + b
            gaps = [
                (z[:, label] - z[:, k]) / np.linalg.norm(w[:, label] - w[:, k])
                for k in range(3)
                if k != label
            ]
            expected = np.minimum(*gaps).mean()
            got = column(trainer, result, "test", f"{kind}_margin", f"class:c{label}")
            assert got == pytest.approx(expected, rel=1e-5)

    def test_the_input_margin_is_where_the_line_meets_a_plane(self) -> None:
        trainer, _ = linear()
        x, y, w, b = numbers(trainer)
        pairs = [(i, j) for i, j in product(range(len(x)), repeat=2) if y[i] != y[j]]
        start = torch.from_numpy(x[[i for i, _ in pairs]])
        way = torch.from_numpy(x[[j for _, j in pairs]]) - start
        weights, shift = torch.from_numpy(w), torch.from_numpy(b)
        truth = (start @ weights + shift).argmax(1)

        def unchanged(share: Tensor) -> Tensor:
            at = start + share[0, :, None] * way
            return ((at @ weights + shift).argmax(1) == truth)[None]

        found = first_change(unchanged, start[None])[0].numpy()
        z, slope = (start @ weights + shift).numpy(), (way @ weights).numpy()
        for row, (label, share) in enumerate(zip(truth.tolist(), found, strict=True)):
            meets = [
                (z[row, label] - z[row, k]) / (slope[row, k] - slope[row, label])
                for k in range(3)
                if slope[row, k] > slope[row, label]
            ]
            exact = min(meets, default=math.inf)
            if exact < 1:
                assert share == pytest.approx(exact, abs=3e-4)
            else:
                assert math.isnan(share)

    def test_the_logit_margin_has_its_mean_and_quantile(self) -> None:
        trainer, (result, _) = linear()
        x, y, w, b = numbers(trainer)
        z = x @ w + b
        own = z[np.arange(len(y)), y]
        z[np.arange(len(y)), y] = -np.inf
        gap = own - z.max(1)
        got = column(trainer, result, "test", "logit_margin", "")
        assert got == pytest.approx(gap.mean(), rel=1e-6)
        low = column(trainer, result, "test", "logit_margin_q10", "class:c2")
        assert low == pytest.approx(np.quantile(gap[y == 2], 0.1), rel=1e-6)


@cache
def linear() -> tuple[PackTrainer, Any]:
    """Two runs of softmax regression, with margins of all samples, in float64."""

    def plane(inputs: tuple[int, ...], classes: int) -> torch.nn.Module:
        return torch.nn.Linear(inputs[0], classes)

    train: dict[str, Any] = {"model": "plane", "precision": "float64", "observe": BOTH, "epochs": 3}
    keys: dict[str, Any] = {"margins": {"samples": 100}, "gradient_noise": {"samples": 100}}
    entries = {**catalogue._ENTRIES, ("model", "plane"): Entry("model", "plane", network(plane))}
    with patch.object(catalogue, "_ENTRIES", entries):
        one = config(**train, **keys)
        trainer = pack(points(), one, one)
        return trainer, last(trainer)


def points() -> Dataset:
    """Three clouds in space."""
    source = np.random.default_rng(3)
    sizes = {"train": 60, "val": 12, "test": 15}
    y = {split: np.arange(size) % 3 for split, size in sizes.items()}
    x = {split: source.normal(y[split][:, None], 1.0, (len(y[split]), 4)) for split in y}
    codes = {split: np.empty((len(y[split]), 0), dtype=np.int64) for split in y}
    return table_dataset("points", x, codes, y, cardinalities=(), classes=CLASSES)


def numbers(trainer: PackTrainer) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Test samples, their classes, and the weights and biases of the first member."""
    blocks = parameters_of(trainer, 0)
    w = blocks["module.weight"].numpy().T.astype(float)
    b = blocks["module.bias"].numpy().astype(float)
    x = trainer.pool.raw("test", torch.arange(len(trainer.pool.y["test"]))).double().numpy()
    return x, trainer.pool.y["test"].numpy(), w, b


class TestGradientNoise:
    def test_it_is_the_noise_of_the_samples_gradients(self) -> None:
        """Softmax regression: the gradient of a sample is (p - y) x and p - y."""
        trainer, results = linear()
        for member, result in enumerate(results):
            blocks = parameters_of(trainer, member)
            w = blocks["module.weight"].numpy().T.astype(float)
            b = blocks["module.bias"].numpy().astype(float)
            index = trainer.feed.subset_index[member]
            x = trainer.pool.raw("train", index).double().numpy()
            y = trainer.pool.y["train"][index].numpy()
            grads = gradients(x, y, w, b)
            by_class = {f"class:c{c}": [c] for c in range(3)}
            groups = {f"group:{g}": list(of) for g, of in class_groups(trainer.counts).items()}
            for target, own in {**by_class, **groups, "": [0, 1, 2]}.items():
                expected = moments([grads[y == c] for c in own])
                for metric, value in zip(
                    ("gradient_variance", "gradient_square"), expected, strict=True
                ):
                    got = column(trainer, result, "train", metric, target)
                    assert got == pytest.approx(value, rel=1e-4, nan_ok=True), (target, metric)

    def test_the_scale_of_planted_noise(self) -> None:
        """Classes drawn from one law: a class's variance is that of the law, whatever its size."""
        source = np.random.default_rng(0)
        direction = source.normal(size=6)
        drawn = [direction + source.normal(scale=0.5, size=(n, 6)) for n in (400, 50)]
        variance, square = moments(drawn)
        assert variance == pytest.approx(6 * 0.25, rel=0.1)
        assert square == pytest.approx(direction @ direction, rel=0.1)


def gradients(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    z = x @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1.0
    return np.concatenate([(x[:, :, None] * p[:, None, :]).reshape(len(x), -1), p], axis=1)


def moments(classes: Sequence[np.ndarray]) -> tuple[float, float]:
    """tr(Sigma) and |G|^2 without bias: by products of different samples only."""
    if not classes:
        return math.nan, math.nan
    total = sum(len(one) for one in classes)
    shares = [len(one) / total for one in classes]
    squares = sum(w * (one**2).sum(1).mean() for w, one in zip(shares, classes, strict=True))
    product = 0.0
    for (a, one), (c, other) in product_of(list(zip(shares, classes, strict=True))):
        gram = one @ other.T
        if one is other:
            n = len(one)
            product += a * c * (gram.sum() - np.trace(gram)) / (n * (n - 1)) if n > 1 else math.nan
        else:
            product += a * c * gram.mean()
    return float(squares - product), float(product)


def product_of(items: list[Any]) -> list[Any]:
    return list(product(items, repeat=2))


@pytest.mark.parametrize("data", [images(channels=3), table()], ids=["images", "table"])
def test_observers_change_no_training_and_keep_a_member_apart(data: Dataset) -> None:
    kind: dict[str, Any] = {} if data.kind == "image" else {"model": "mlp"}
    keys: dict[str, Any] = {"margins": {"samples": 2, "lines": 2}, "gradient_noise": {"samples": 2}}
    watched = config(**kind, **keys, observe=BOTH, precision="float64")
    bare = config(**kind, precision="float64")
    trainer, plain = pack(data, watched, watched), pack(data, bare, bare)
    results, without = last(trainer), last(plain)
    width = len(numbers_of(without[0]))
    for member in range(2):
        assert same(parameters_of(trainer, member), parameters_of(plain, member))
        own = numbers_of(results[member])
        assert np.array_equal(own[:width], numbers_of(without[member]), equal_nan=True)
        alone = PackTrainer(data, [Member(watched, member)])
        (single,) = last(alone)
        assert np.allclose(own, numbers_of(single), rtol=1e-3, atol=1e-5, equal_nan=True)
        names = layout(data.classes, data.y, BOTH)[width:]
        seen = dict(zip(names, own[width:], strict=True))
        assert len(seen) == len(own) - width
        assert math.isfinite(seen["test", "gradient_margin", ""])
        assert seen["train", "gradient_variance", ""] > 0


def test_what_is_looked_at_only_at_the_end_is_missing_before() -> None:
    keys: dict[str, Any] = {"margins": {"samples": 2, "lines": 1}, "gradient_noise": {"samples": 2}}
    trainer = pack(images(), config(observe=BOTH, **keys))
    (first,) = trainer.train_round()
    names = layout(CLASSES, trainer.pool.y, BOTH)
    seen = dict(zip(names, numbers_of(first), strict=True))
    assert math.isnan(seen["test", "logit_margin", ""])
    assert seen["train", "gradient_variance", ""] > 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["margin"], "'margin' is unknown; the nearest is 'margins'"),
        (["margins", "margins"], "has margins twice; name it once"),
    ],
)
def test_wrong_names(value: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.observe") as error:
        pack(images(), Config.model_validate({"train": {"observe": value}}))
    assert message in str(error.value)

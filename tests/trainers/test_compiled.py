"""The compiled forms: equal to PyTorch, and the same bits in any pack.

What a layer computes is compared with float64 in `test_arithmetic.py`, for every form.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_packs import (
    BEST,
    COMPILED,
    LEVERS,
    NETWORKS,
    SHARP,
    gradient,
    noise,
    on_threads,
    pack,
)
from patience import HANG
from torch import Tensor

from trainers.compiled import build, library
from trainers.compiled.product import product
from trainers.data.dataset import Dataset, table_dataset
from trainers.forms import FORMS
from trainers.fused import Pass
from trainers.loop import PackTrainer
from trainers.models.resnet import BasicBlock

pytestmark = pytest.mark.skipif(not COMPILED, reason="the executor's library is not built")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Noise of five classes, 8x8 pixels in three colours."""
    return noise((8, 8, 3))


def numbers(trainer: PackTrainer, member: int) -> dict[str, Tensor]:
    """A member's parameters and statistics."""
    return {
        name: kept.layout.select(kept.tensor, [member]) for name, kept in trainer.pack.state.items()
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_that_of_float64(images: Dataset, network: str) -> None:
    """Logits and the whole gradient of a step; at no more than ten times PyTorch's own rounding."""
    settings: dict[str, Any] = NETWORKS[network]
    truth, logits = gradient(pack(images, "folded", **{**settings, "precision": "float64"}))
    own, _ = gradient(pack(images, "folded", **settings))
    rounding = float((own - truth).norm() / truth.norm())
    for level in COMPILED if network in ("batch norm", "group norm") else [BEST]:
        got, got_logits = gradient(pack(images, level, **settings))
        assert float((got - truth).norm() / truth.norm()) < 10 * rounding + 1e-7, level
        assert torch.allclose(got_logits.double(), logits, rtol=1e-4, atol=1e-4), level


_BLOCK = BasicBlock.__call__


def _two_branches(block: BasicBlock, run: Pass, x: Tensor) -> Tensor:
    """norm(conv(x)) + relu(norm(conv(x)))."""
    bare = block.first_norm(run, block.first(run, x))
    return bare.add_(torch.relu_(block.second_norm(run, block.second(run, x))))


def _single(block: BasicBlock, run: Pass, x: Tensor) -> Tensor:
    """relu(x + norm(conv(x)))."""
    bare = block.first_norm(run, block.first(run, x))
    return torch.relu_(bare.add_(x))


def _twice(block: BasicBlock, run: Pass, x: Tensor) -> Tensor:
    """relu(x + conv(relu(conv(x)))) with the same weights."""
    return torch.relu(block.first(run, torch.relu(block.first(run, x))) + x)


def _drawn(seed: int) -> Callable[[BasicBlock, Pass, Tensor], Tensor]:
    """Both convolutions and norms in any order, of earlier values, with sums and ReLUs."""

    def block(block: BasicBlock, run: Pass, x: Tensor) -> Tensor:
        source, values, read = random.Random(seed), [x], set[int]()

        def one(last: int) -> Tensor:
            place = source.choice(range(len(values))[-last:])
            read.add(place)
            return values[place]

        layers = [block.first, block.first_norm, block.second, block.second_norm]
        source.shuffle(layers)
        for layer in layers:
            values.append(layer(run, one(2)))
            if source.random() < 0.5:
                values.append(torch.relu(one(1)))
            if source.random() < 0.5:
                values.append(one(1) + one(9))
        result = one(1)
        for place in set(range(len(values))) - read if seed % 8 else ():  # or some are unread
            result = result + values[place]
        return result

    return block


BLOCKS = [_two_branches, _single, _twice, *map(_drawn, range(40))]


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_network_of_other_blocks_is_that_of_float64(
    images: Dataset, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's may still use a gradient where those of Sweeper's networks are overwritten.

    A ReLU whose input is rounded to the other side of zero changes some gradients by a hundredth.
    """
    for number, other in enumerate(BLOCKS):
        monkeypatch.setattr(
            BasicBlock,
            "__call__",
            lambda block, *given, other=other: (_BLOCK if block.shortcut.changes else other)(
                block, *given
            ),
        )
        truth, logits = gradient(pack(images, "folded", norm=norm, precision="float64"))
        got, got_logits = gradient(pack(images, BEST, norm=norm))
        assert torch.allclose(got_logits.double(), logits, rtol=1e-4, atol=1e-4), number
        assert float((got - truth).norm() / truth.norm()) < 0.05, number


@pytest.mark.parametrize("network", ["batch norm", "preactivation", "running statistics"])
def test_evaluations_and_statistics_are_those_of_the_folded_form(
    images: Dataset, network: str
) -> None:
    """Clean statistics, or running ones after an update, and the logits of each split."""
    trainers = [pack(images, form, **NETWORKS[network]) for form in (BEST, "folded")]
    found = []
    for trainer in trainers:
        trainer.update(next(iter(trainer.feed.batches(0, 1))))
        found.append({**trainer.evaluate(), "var": trainer.pack.statistics.var})
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("lever", LEVERS)
def test_a_member_has_the_same_bits_in_any_pack(images: Dataset, lever: str) -> None:
    """Alone, in packs of 2, 5 and 10 of other rates, on two threads, after a drop and a resume."""
    alone = _trained(images, 1, LEVERS[lever])
    others = {
        f"{members} members, {threads} threads": _trained(images, members, LEVERS[lever], threads)
        for members, threads in ((2, 1), (5, 2), (10, 1), (1, 2))
    }
    others["after a drop and a resume"] = _interrupted(images, LEVERS[lever])
    for how, found in others.items():
        assert [name for name in alone if not torch.equal(found[name], alone[name])] == [], how


def _trained(
    dataset: Dataset, members: int, train: dict[str, Any], threads: int = 1
) -> dict[str, Tensor]:
    with on_threads(threads):
        trainer = pack(dataset, BEST, members=members, **train)
        rows = [row for _ in range(trainer.rounds) for row in _of_first(trainer)]
        return {**numbers(trainer, 0), "numbers": torch.stack(rows)}


def _of_first(trainer: PackTrainer) -> list[Tensor]:
    row = trainer.train_round()[0].numbers
    return [] if row is None else [torch.from_numpy(row).nan_to_num(-1.0)]


def _interrupted(dataset: Dataset, train: dict[str, Any]) -> dict[str, Tensor]:
    """After the first round two members leave, and the pack goes on in another trainer."""
    first = pack(dataset, BEST, members=3, **train)
    rows = _of_first(first)
    first.drop(1)
    first.drop(2)
    second = pack(dataset, BEST, members=3, **train)
    second.load_state(*first.state())
    while second.round < second.rounds:
        rows += _of_first(second)
    return {**numbers(second, 0), "numbers": torch.stack(rows)}


def test_levels_differ_only_in_how_products_are_rounded(images: Dataset) -> None:
    """AVX2 and AVX-512 sum in the same order, and both round once for a product and its sum."""
    if len(COMPILED) < 3:
        pytest.skip(f"this processor has the levels {COMPILED} only")
    found = [gradient(pack(images, form, sam=SHARP))[0] for form in COMPILED[:2]]
    assert torch.equal(*found)


def test_what_is_not_finite_stays_in_its_member(images: Dataset) -> None:
    """A NaN passes every kernel, forward and backward, and touches no other member."""
    trainer = pack(images, BEST)
    sound, _ = gradient(trainer)
    layout = trainer.pack.parameters.layout
    for bad in (float("nan"), float("inf")):
        layout.split(trainer.pack.parameters.data)["stem.weight"][1, 0] = bad
        got, logits = gradient(trainer)
        assert logits[1].isnan().all()
        assert logits[[0, 2]].isfinite().all()
        assert torch.equal(layout.select(got, [0, 2]), layout.select(sound, [0, 2]))
        assert layout.split(got)["head.weight"][1].isnan().all()


def test_a_backward_pass_can_be_repeated_and_several_may_be_open(images: Dataset) -> None:
    """Losses of two batches that are open at once; the second gradient of the first is the same."""
    trainer = pack(images, BEST)
    one, two = list(trainer.feed.batches(0, 2))
    first, second = (trainer._passes.terms(batch, first=False) for batch in (one, two))
    once = trainer._passes.gradient(first.objective, again=True)
    other = trainer._passes.gradient(second.objective)
    assert torch.equal(trainer._passes.gradient(first.objective), once)
    assert not torch.equal(other, once)


def test_parameters_that_change_before_the_backward_pass_are_an_error(images: Dataset) -> None:
    """It would compute with other weights than the forward pass."""
    trainer = pack(images, BEST)
    terms = trainer._passes.terms(next(iter(trainer.feed.batches(0, 1))))
    trainer.pack.parameters.data.add_(1.0)
    with pytest.raises(RuntimeError, match="the parameters changed between a forward"):
        trainer._passes.gradient(terms.objective)


@pytest.mark.parametrize("form", COMPILED)
def test_a_factor_of_each_member_is_added_to_its_own_numbers(form: str) -> None:
    """The tensor itself changes, to what float64 gives but for rounding, and has a new version."""
    layout = FORMS[form].layout(3, {"a": 7, "b": 7, "c": 70})
    source = np.random.default_rng(0)
    to, flat = (torch.tensor(source.normal(size=layout.total), dtype=torch.float32) for _ in "ab")
    factors, before, version = torch.tensor([0.0, -2.5, 1e-3]), to.clone(), to._version
    assert layout.add_scaled_(to, flat, factors) is to
    assert to._version > version
    for was, now, x in zip(*(layout.split(t).values() for t in (before, to, flat)), strict=True):
        wanted = was.double() + factors.double()[:, None] * x.double()
        assert torch.allclose(now.double(), wanted, rtol=1e-6, atol=1e-7)
        assert torch.equal(now[0], was[0])


def test_the_gradient_with_respect_to_the_input(images: Dataset) -> None:
    """As in the folded form."""
    found = []
    for form in (BEST, "folded"):
        trainer = pack(images, form, norm="group")
        x = next(iter(trainer.feed.batches(0, 1))).x.requires_grad_()
        trainer.pack.logits(x, moving=False).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(3, 5, 7, 9), (2, 33, 128, 33), (1, 1, 1, 1), (4, 17, 33, 2), (4, 129, 128, 130)]
)
def test_products_and_their_gradients_are_those_of_float64(shape: tuple[int, ...]) -> None:
    """Matrices may lie in any order; outside the passes of a compiled form PyTorch computes."""
    members, n, d, m = shape
    source = torch.Generator().manual_seed(0)
    left = torch.randn(members, n, d, generator=source, dtype=torch.float64, requires_grad=True)
    right = torch.randn(members, m, d, generator=source, dtype=torch.float64).mT.requires_grad_()
    weights = torch.randn(members, n, m, generator=source, dtype=torch.float64)
    wanted = torch.autograd.grad(((left @ right) * weights).sum(), (left, right))
    rounded = [one.detach().float().requires_grad_() for one in (left, right)]
    with on_threads(2), library.used(COMPILED[0].removeprefix("compiled_")):
        made = product(*rounded)
        got = torch.autograd.grad((made * weights.float()).sum(), rounded)
    for one, other in zip((made, *got), (left @ right, *wanted), strict=True):
        assert float((one.double() - other).detach().norm() / other.detach().norm()) < 1e-6
    assert torch.equal(product(*rounded), rounded[0] @ rounded[1])


ELSEWHERE: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.3},
    "stochastic depth": {"stochastic_depth": 0.3},
    "ghost batches": {"ghost_batch": 4},
    "standardised filters": {"norm": "group", "weight_standardisation": True},
    "a transformer": {"model": "vit", "width": 0.1, "depth": 1},
    "float64": {"precision": "float64"},
}


@pytest.mark.parametrize("lever", ELSEWHERE)
def test_what_the_executor_lacks_is_computed_as_in_the_folded_form(
    images: Dataset, lever: str
) -> None:
    """The rest of the network may still be one call."""
    found = [gradient(pack(images, form, **ELSEWHERE[lever])) for form in (BEST, "folded")]
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-3, atol=1e-4)


def test_tables_are_one_call_too() -> None:
    """A multilayer perceptron with numbers and codes."""
    source = np.random.default_rng(0)
    y = {s: np.arange(n) % 3 for s, n in {"train": 90, "val": 20, "test": 20}.items()}
    x = {s: source.normal(size=(len(v), 7)).astype(np.float32) for s, v in y.items()}
    codes = {split: np.zeros((len(rows), 0), dtype=np.int64) for split, rows in x.items()}
    dataset = table_dataset("rows", x, codes, y, cardinalities=(), classes=tuple("abc"))
    made = [pack(dataset, form, model="mlp", data={}) for form in (BEST, "folded")]
    for got, wanted in zip(*(gradient(trainer) for trainer in made), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert all(one is not None for one in made[0]._design.programs.values())


def test_without_the_library_the_other_forms_are_left() -> None:
    """As on a machine without a compiler."""
    asked = "from trainers.forms import FORMS; print(*FORMS)"
    done = subprocess.run(
        [sys.executable, "-c", asked], env=os.environ | {library.VARIABLE: "none"},
        capture_output=True, text=True, timeout=HANG, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["folded", "native"]


def test_what_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler, or one that fails."""
    monkeypatch.setattr(build, "library_of", lambda level: tmp_path / f"executor-{level}.so")
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.NotBuilt, match="no C\\+\\+ compiler"):
        build.build()
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(build.NotBuilt, match="/bin/false fails"):
        build.build()

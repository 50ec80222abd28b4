"""The compiled forms: equal to PyTorch, the same bits in any pack, and nothing written elsewhere.

What a layer computes is compared with float64 in `test_arithmetic.py`, for every form.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patience import HANG
from torch import Tensor

from trainers.compiled import build, library
from trainers.compiled.product import product
from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset, table_dataset
from trainers.forms import FORMS
from trainers.loop import Member, PackTrainer

COMPILED = [form for form in FORMS if form.startswith("compiled_")]
pytestmark = pytest.mark.skipif(not COMPILED, reason="the executor's library is not built")
BEST = next(iter(FORMS))
IMBALANCE = {"imbalance": {"profile": "exponential", "train_ratio": 0.1}}
SHARP = {"radius": 0.1, "asymmetry": 1.0}


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Noise of five classes, 8x8 pixels in three colours."""
    return _noise((8, 8, 3))


@pytest.fixture(scope="module")
def large_images() -> Dataset:
    """So much work that threads share a member."""
    return _noise((24, 24, 3))


def _noise(shape: tuple[int, ...]) -> Dataset:
    source, y = np.random.default_rng(0), {}
    for split, size in {"train": 120, "val": 20, "test": 40}.items():
        y[split] = np.arange(size) % 5
    x = {s: source.integers(0, 256, (len(v), *shape)).astype(np.uint8) for s, v in y.items()}
    return image_dataset("noise", x, y, classes=tuple("abcde"))


def pack(
    dataset: Dataset, form: str, *, members: int = 3, data: dict[str, Any] = IMBALANCE, **train: Any
) -> PackTrainer:
    """Members of different replicates, rates and decays."""
    settings = {
        "batch_size": 20,
        "epochs": 2,
        "evaluations": 2,
        "width": 0.5,
        "precision": "float32",
    } | train
    configs = [
        Config.model_validate(
            {"data": data, "train": {"lr": 0.02 + 0.01 * k, "weight_decay": 1e-3 * k} | settings}
        )
        for k in range(members)
    ]
    made = [Member(config, replicate) for replicate, config in enumerate(configs)]
    return PackTrainer(dataset, made, form=form)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """A context in which PyTorch, and so the executor, has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gradient(trainer: PackTrainer) -> tuple[Tensor, Tensor]:
    """The gradient (K P,) and the logits of the first batch."""
    grad, terms = trainer._gradient(next(iter(trainer.feed.batches(0, 1))))
    return grad, terms.logits.detach()


def numbers(trainer: PackTrainer, member: int) -> dict[str, Tensor]:
    """A member's parameters and statistics."""
    return {
        name: kept.layout.select(kept.tensor, [member]) for name, kept in trainer.pack.state.items()
    }


NETWORKS: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "group norm": {"norm": "group", "width": 0.75},
    "layer norm": {"norm": "layer", "width": 0.3},
    "no norm": {"norm": "none"},
    "padded shortcuts": {"shortcut": "padding"},
    "preactivation": {"depth": 16, "width": 0.5},
    "cosine head": {"head": "cosine", "loss": "ldam"},
    "ImageNet stem": {"model": "resnet18", "stem": "imagenet", "width": 0.25},
    "joint SimCLR": {"ssl": {"weight": 0.5}},
    "joint BYOL": {"ssl": {"weight": 0.5, "loss": "byol"}},
    "masked images": {"ssl": {"weight": 0.5, "loss": "masked"}},
    "running statistics": {"norm_statistics": "running"},
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


LEVERS: dict[str, dict[str, Any]] = {
    "SGD": {"nesterov": True},
    "AdamW": {"optimizer": "adamw"},
    "SAM-A": {"sam": SHARP},
    "SAM-A, plain": {"sam": SHARP | {"normaliser": "plain"}},
    "SimCLR": {"ssl": {"weight": 0.5}},
    "VICReg": {"ssl": {"weight": 0.5, "loss": "vicreg"}},
    "Barlow Twins": {"ssl": {"weight": 0.5, "loss": "barlow_twins"}},
    "EMA and augmentation": {"average": "ema", "augmentation": "flip_crop", "norm": "group"},
}


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


SHARED = NETWORKS | {
    f"{lever}, wide": {**LEVERS[lever], "width": 1.5} for lever in ("AdamW", "SAM-A", "VICReg")
}


@pytest.mark.parametrize("network", SHARED)
def test_threads_that_share_a_member_compute_the_same_bits(
    large_images: Dataset, network: str
) -> None:
    """Two or three share one member; of five members, each has one, and all share the others."""
    for members, counts in ((1, (2, 3)), (5, (3,))):
        wanted = _after_an_update(large_images, members, network, threads=1)
        for threads in counts:
            found = _after_an_update(large_images, members, network, threads)
            differ = [name for name in wanted if not torch.equal(found[name], wanted[name])]
            assert differ == [], (members, threads)


def _after_an_update(
    dataset: Dataset, members: int, network: str, threads: int
) -> dict[str, Tensor]:
    """The gradient of a batch, and all that a pack has after an update with it."""
    with on_threads(threads):
        trainer = pack(dataset, BEST, members=members, **{"width": 1.0, **SHARED[network]})
        batch = next(iter(trainer.feed.batches(0, 1)))
        grad, _ = gradient(trainer)
        trainer.update(batch)
        state = {name: kept.tensor for name, kept in trainer.pack.state.items()}
        return {"gradient": grad, **trainer.evaluate(), **state}


def test_a_forked_process_has_threads_of_its_own(large_images: Dataset) -> None:
    """It has none of those that its parent's passes started, and waits for none."""
    trainer = pack(large_images, BEST, members=2, width=1.0)
    receive, send = multiprocessing.Pipe(duplex=False)
    with on_threads(2):
        wanted, _ = gradient(trainer)
        child = multiprocessing.get_context("fork").Process(
            target=lambda: send.send_bytes(gradient(trainer)[0].numpy().tobytes())
        )
        child.start()
        assert receive.poll(HANG)
        assert receive.recv_bytes() == wanted.numpy().tobytes()
        child.join(HANG)


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


_STEPS = """
import numpy as np, torch
from tests.trainers.test_compiled import LEVERS, NETWORKS, _noise, gradient, pack
images = _noise((7, 5, 3))
for settings in (*NETWORKS.values(), *LEVERS.values()):
    trainer = pack(images, "compiled_{level}", members=2, batch_size=9, epochs=1, **settings)
    gradient(trainer)
    trainer.update(next(iter(trainer.feed.batches(0, 1))))
    trainer.evaluate()
"""


_STEPS_OF_TEAMS = """
import torch
from tests.trainers.test_compiled import NETWORKS, _noise, gradient, pack
images = _noise((24, 24, 3))
for network in ("batch norm", "no norm", "preactivation", "padded shortcuts", "ImageNet stem"):
    for members, threads in ((1, 2), (5, 3)):
        torch.set_num_threads(threads)
        settings = {{"width": 1.0, "epochs": 1}} | NETWORKS[network]
        trainer = pack(images, "compiled_{level}", members=members, **settings)
        gradient(trainer)
        trainer.update(next(iter(trainer.feed.batches(0, 1))))
        trainer.evaluate()
"""


def _sanitized(
    folder: Path, sanitizers: str, steps: str
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """The name of a library built with sanitizers, and how the steps ended with it."""
    compiler, level = os.environ.get("CXX", "g++"), BEST.removeprefix("compiled_")
    path = folder / f"sanitized-{build.library_of(level).name}"
    options = ["-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    build.compile_to(path, compiler, level, *options)
    names = {"address": "asan", "undefined": "ubsan", "thread": "tsan"}
    found = [
        subprocess.run(
            [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in (*(names[one] for one in sanitizers.split(",")), "stdc++")
    ]
    program = _PRELUDE.format(path=path) + steps.format(level=level) + "print('done')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {
            "LD_PRELOAD": " ".join(found),
            "ASAN_OPTIONS": "detect_leaks=0",
            "TSAN_OPTIONS": "exitcode=0",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    return path.name, done


@pytest.mark.soak  # it takes a minute to compile
def test_the_executor_reads_and_writes_only_its_own_memory(tmp_path: Path) -> None:
    """Every network and lever under the address and the undefined-behaviour sanitizer."""
    _, done = _sanitized(tmp_path, "address,undefined", _STEPS + _STEPS_OF_TEAMS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


@pytest.mark.soak  # a minute
def test_threads_read_only_what_others_have_finished(tmp_path: Path) -> None:
    """Under the thread sanitizer, which also tells of PyTorch's own threads: those are left out."""
    name, done = _sanitized(tmp_path, "thread", _STEPS_OF_TEAMS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
    reports = done.stderr.split("WARNING: ThreadSanitizer: ")[1:]
    assert [report for report in reports if name in report] == []


_PRELUDE = """
from pathlib import Path
from trainers.compiled import library
library.library_of = lambda level: Path("{path}")
"""


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

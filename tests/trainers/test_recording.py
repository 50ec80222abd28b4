"""Recorded gradients: fixed addresses, nothing that waits, and the bits of what is computed anew.

A graph of CUDA needs a GPU (`tests/gpu`). Here the same code runs with a recorder that does the
work again.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from again import Again, FoldedAgain
from small_packs import config, images, table
from torch import Tensor

from trainers import forms, gpu
from trainers.config import Config
from trainers.data.dataset import Dataset
from trainers.fused import Folded
from trainers.loop import Member, PackTrainer

MLP = {"model": "mlp"}
LEVERS: list[tuple[Any, dict[str, Any]]] = [
    (images, {}),
    (images, {"optimizer": "adamw", "lr": 0.001, "average": "ema"}),
    (images, {"sam": {"radius": 0.05, "asymmetry": 1.0}}),
    (images, {"sam": {"radius": 0.05, "asymmetry": 1.0, "normaliser": "plain"}}),
    (images, {"sam": {"method": "asam", "radius": 0.5}}),
    (images, {"sam": {"method": "imbsam", "radius": 0.05}}),
    (images, {"sam": {"method": "focal_sam", "radius": 0.05}}),
    (images, {"loss": "ldam", "head": "cosine", "class_weights": {"by": "inverse", "start": 0.5}}),
    (images, {"loss": "focal", "smoothing": {"minority": 0.1}, "augmentation": "mixup"}),
    (images, {"ssl": {"weight": 0.1}, "simclr": {"queue": 16}}),
    (images, {"ssl": {"weight": 0.1, "loss": "vicreg"}, "accumulation": 2}),
    (images, {"ssl": {"weight": 0.1, "loss": "barlow_twins"}, "sam": {"radius": 0.05}}),
    (images, {"ssl": {"weight": 0.1, "loss": "byol"}}),
    (images, {"ssl": {"weight": 0.1, "loss": "masked"}, "norm": "group"}),
    (images, {"norm_statistics": "running", "stochastic_depth": 0.2, "dropout": 0.2}),
    (images, {"model": "vit", "width": 0.5}),
    (table, MLP | {"ssl": {"weight": 0.1, "loss": "scarf"}}),
    (table, {"model": "tabm"}),
]


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that records."""
    monkeypatch.setitem(forms.FORMS, "again", FoldedAgain())
    monkeypatch.setattr(Again, "made", [])


def trainer(data: Dataset, configs: list[Config], form: str) -> PackTrainer:
    return PackTrainer(data, [Member(c, r) for r, c in enumerate(configs)], form=form)


def state_of(one: PackTrainer) -> dict[str, Tensor]:
    return one.state()[0]


def same(one: PackTrainer, other: PackTrainer) -> bool:
    ours, theirs = state_of(one), state_of(other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("data", "train"), LEVERS)
def test_recorded_steps_have_the_bits_of_steps_computed_anew(
    data: Any, train: dict[str, Any]
) -> None:
    """Through evaluations, a last batch of another size, a drop and a resume."""
    made = data()
    configs = [config(**({"lr": lr} | train)) for lr in (0.05, 0.02, 0.01)]
    anew, recorded = trainer(made, configs, "folded"), trainer(made, configs, "again")
    for one in (anew, recorded):
        one.train_round()
    assert same(anew, recorded)
    assert Again.made
    assert all(recorder.replays for recorder in Again.made)
    for one in (anew, recorded):
        one.drop(1)
        one.train_round()
    assert same(anew, recorded)
    later = trainer(made, configs, "again")
    later.load_state(*recorded.state())
    assert same(later, recorded)


def test_a_batch_is_recorded_once_for_each_shape() -> None:
    """Sixty samples in batches of eight: seven of one shape, one of another."""
    one = trainer(images(), [config(ratio=1.0)], "again")
    one.train_round()
    one.train_round()
    assert sorted(recorder.replays for recorder in Again.made) == [2, 14]


def test_addresses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, parameters, statistics and memories lie where they lay, whatever happens between."""
    one = trainer(images(), [config(ssl={"weight": 0.1, "loss": "byol"}, average="ema")], "again")
    tensors = {name: kept.tensor for name, kept in one._state.items()}
    before = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    one.train_round()
    assert one._recorded is not None
    steps = list(one._recorded._recordings.values())
    of_batch = [step.batch.x.data_ptr() for step in steps if step is not None]
    one.load_state(*one.state())
    one.train_round()
    assert {name: kept.tensor.data_ptr() for name, kept in one._state.items()} == before
    again = one._recorded._recordings.values()
    assert [step.batch.x.data_ptr() for step in again if step is not None] == of_batch


@pytest.mark.parametrize(
    "train",
    [{"gradient": "class_normalised"}, {"sam": {"method": "cc_sam", "radius": 0.001}}],
)
def test_what_waits_for_a_number_is_computed_anew(train: dict[str, Any]) -> None:
    """Steps by the classes of a batch read which there are."""
    made, configs = images(), [config(**train), config(**train)]
    anew, recorded = trainer(made, configs, "folded"), trainer(made, configs, "again")
    for one in (anew, recorded):
        one.train_round()
    assert same(anew, recorded)
    assert not any(recorder.replays for recorder in Again.made)


def test_too_little_memory_is_no_reason_to_compute_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch then takes fewer members."""

    def full(self: Again, work: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Again, "record", full)
    with pytest.raises(torch.OutOfMemoryError):
        trainer(images(), [config()], "again").train_round()


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_unfolded_convolutions_are_convolutions(kernel: int, stride: int) -> None:
    """In float64 against each member's own convolution, gradients included."""
    members, samples, inputs, outputs = 3, 4, 5, 6
    source = torch.Generator().manual_seed(1)
    x = torch.randn(samples, members, inputs, 7, 9, generator=source, dtype=torch.float64)
    w = torch.randn(members, outputs, kernel, kernel, inputs, generator=source, dtype=torch.float64)
    b = torch.randn(members * outputs, generator=source, dtype=torch.float64)
    x.requires_grad_()
    w.requires_grad_()
    form = forms.GPU_FORMS["unfolded"]
    weight = w.flatten(0, 1).permute(0, 3, 1, 2)
    ours = form.convolution(form.images(x), weight, b, members=members, stride=stride)
    bias = b.view(members, outputs)
    padding = kernel // 2 if kernel > stride else 0
    plain = torch.cat(
        [
            torch.nn.functional.conv2d(x[:, k], w[k].permute(0, 3, 1, 2), bias[k], stride, padding)
            for k in range(members)
        ],
        dim=1,
    )
    assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-12)
    way = torch.randn(plain.shape, generator=source, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(ours, (x, w), way), torch.autograd.grad(plain, (x, w), way), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-11)


def test_every_form_for_gpus_trains_alike() -> None:
    """On a processor, where `recorded` has no graphs: two steps, near the form `folded`."""
    made, settings = images(), [config(ratio=1.0), config(ratio=1.0, lr=0.02)]
    plain = trainer(made, settings, "folded")
    other = trainer(made, settings, "unfolded")
    for one in (plain, other):
        for batch in one.feed.batches(0, 2):
            one.update(batch)
    ours, theirs = (one.pack.parameters.data for one in (plain, other))
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


class Bent(Folded):
    """A form whose convolutions have another gradient."""

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None, **more: Any) -> Tensor:
        bent = weight * 1.1 - (weight * 0.1).detach()
        return super().convolution(x, bent, bias, **more)


def test_a_wrong_form_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form stays if its first update is that of the plain one."""
    monkeypatch.setattr(gpu, "GPU_FORMS", {"folded": Folded(), "bent": Bent(), "unfolded": None})
    monkeypatch.setitem(forms.FORMS, "bent", Bent())
    made, one = images(), config()
    assert gpu.right_forms(lambda form: trainer(made, [one, one], form)) == ["folded", "unfolded"]

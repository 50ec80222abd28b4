"""What only a GPU can show; without one every test here skips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, pack

from trainers.data.dataset import Dataset
from trainers.forms import GPU_FORMS
from trainers.gpu import beside, peaks, right_forms
from trainers.loop import Member, PackTrainer
from trainers.sources import Fetched

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch finds no GPU of CUDA here"
)

LEVERS: list[dict[str, Any]] = [
    {},
    {"optimizer": "adamw", "lr": 0.001},
    {"sam": {"radius": 0.05, "asymmetry": 1.0}},
    {"ssl": {"weight": 0.1}},
    {"ssl": {"weight": 0.1, "loss": "byol"}, "augmentation": "flip_crop+trivial_augment"},
]
PLAIN: dict[str, Any] = {"precision": "float32"}


def trainer(data: Dataset, form: str, *members: Any) -> PackTrainer:
    runs = [Member(one, replicate) for replicate, one in enumerate(members)]
    return PackTrainer(data, runs, device="cuda", form=form)


def trained(data: Dataset, form: str, *members: Any) -> torch.Tensor:
    one = trainer(data, form, *members)
    for _ in range(one.rounds):
        assert all(result.finite for result in one.train_round())
    return one.pack.parameters.data.cpu()


@pytest.mark.parametrize("train", LEVERS)
@pytest.mark.parametrize("form", ["folded", "unfolded"])
def test_recorded_steps_have_the_bits_of_steps_computed_anew(
    train: dict[str, Any], form: str
) -> None:
    """A graph runs the same kernels on the same numbers."""
    runs = [config(**(PLAIN | {"lr": lr} | train)) for lr in (0.05, 0.02)]
    recorded = form.replace("folded", "recorded") if form == "folded" else f"recorded_{form}"
    data = images(channels=3)
    assert torch.equal(trained(data, form, *runs), trained(data, recorded, *runs))


@pytest.mark.parametrize("form", GPU_FORMS)
def test_a_run_repeats_to_the_bit(form: str) -> None:
    """The same pack, twice in one process."""
    runs = [config(**PLAIN), config(**PLAIN)]
    assert torch.equal(trained(images(), form, *runs), trained(images(), form, *runs))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_every_form_is_right(precision: str) -> None:
    """No form's first update differs from the plain form's by more than rounding explains."""
    one, data = config(precision=precision), images(channels=3)
    assert right_forms(lambda form: trainer(data, form, one, one)) == list(GPU_FORMS)


def test_a_gpu_computes_what_a_processor_does() -> None:
    """In float32, after an update."""
    one, data = config(**PLAIN), images(channels=3)
    here, there = pack(data, one, one), trainer(data, "folded", one, one)
    for made in (here, there):
        made.update(next(iter(made.feed.batches(0, 1))))
    ours, theirs = (made.pack.parameters.data.cpu() for made in (here, there))
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_samples_that_do_not_fit_come_from_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through pinned memory, ahead of time: the same bits."""
    one, data = config(**PLAIN, augmentation="flip_crop"), images()
    resident = trained(data, "folded", one)
    monkeypatch.setattr("trainers.sources.SHARE_OF_DEVICE", 0.0)
    fetched = trainer(data, "folded", one)
    assert isinstance(fetched.pool._x["train"], Fetched)
    assert torch.equal(trained(data, "folded", one), resident)


@pytest.mark.parametrize("form", GPU_FORMS)
def test_the_memory_of_a_pack_is_measured(form: str) -> None:
    """It grows with the members, does not depend on the order, and a process takes some besides."""
    one, data = config(**PLAIN), images(channels=3)

    def build(k: int) -> PackTrainer:
        return trainer(data, form, *[one] * k)

    found = peaks([1, 20, 1], build)
    assert 0 < found[1] < found[20]
    assert peaks([1], build) == {1: found[1]}
    context, total = beside()
    assert 0 < context < total
    assert found[20] < total


def test_files_train_as_arrays_do(tmp_path: Path) -> None:
    """A data set of files is used from a GPU as one in memory."""
    data = images()
    mapped = {}
    for split, array in data.x.items():
        np.save(tmp_path / f"{split}.npy", array)
        mapped[split] = np.load(tmp_path / f"{split}.npy", mmap_mode="r")
    on_files = Dataset(**{**vars(data), "x": mapped})
    one = config(**PLAIN)
    assert torch.equal(trained(on_files, "folded", one), trained(data, "folded", one))

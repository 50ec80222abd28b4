"""Threads of the compiled forms: the same bits for any number, alone, in forks and at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from compiled_packs import BEST, COMPILED, LEVERS, NETWORKS, gradient, noise, on_threads, pack
from patience import HANG
from torch import Tensor

from trainers.compiled import library
from trainers.compiled.product import product
from trainers.data.dataset import Dataset

pytestmark = pytest.mark.skipif(not COMPILED, reason="the executor's library is not built")


@pytest.fixture(scope="module")
def large_images() -> Dataset:
    """So much work that threads share a member."""
    return noise((24, 24, 3))


SHARED = {name: NETWORKS[name] | {"width": 1.0} for name in NETWORKS if name != "ImageNet stem"} | {
    f"{lever}, wide": {**LEVERS[lever], "width": 1.5} for lever in ("AdamW", "SAM-A", "VICReg")
}


@pytest.mark.parametrize("network", SHARED)
def test_threads_that_share_a_member_compute_the_same_bits(
    large_images: Dataset, network: str
) -> None:
    """Two or three share one member; of five members, each has one, and all share the others.

    With batches of 6 at most two can share a member: of five threads they are two teams of two.
    """
    for members, counts, batch in ((1, (2, 3), 20), (5, (3,), 20), (2, (5,), 6)):
        settings = SHARED[network] | {"batch_size": batch}
        wanted = _after_an_update(large_images, members, settings, threads=1)
        for threads in counts:
            found = _after_an_update(large_images, members, settings, threads)
            differ = [name for name in wanted if not torch.equal(found[name], wanted[name])]
            assert differ == [], (members, threads)


def _after_an_update(
    dataset: Dataset, members: int, settings: dict[str, Any], threads: int
) -> dict[str, Tensor]:
    """The gradient of a batch, and all that a pack has after an update with it."""
    with on_threads(threads):
        trainer = pack(dataset, BEST, members=members, **settings)
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
            target=lambda: send.send_bytes(gradient(trainer)[0].numpy().tobytes()), daemon=True
        )
        child.start()
        assert receive.poll(HANG)
        assert receive.recv_bytes() == wanted.numpy().tobytes()
        child.join(HANG)


def test_calls_at_once_compute_the_same_bits() -> None:
    """The first has the sleeping threads; those that come meanwhile have one each."""
    source = torch.Generator().manual_seed(0)
    left, right = (torch.randn(4, 128, 128, generator=source) for _ in "ab")
    level = BEST.removeprefix("compiled_")
    with on_threads(1), library.used(level):
        wanted = product(left, right)

    def call(_: int) -> Tensor:
        library._USED.set((level, 2))
        return product(left, right)

    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, wanted) for found in pool.map(call, range(400)))

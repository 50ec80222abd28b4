"""How many workers share a GPU; the figures are computed by hand, and no GPU is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import acting
import pytest
from command import TINY, sweeper

from sweeper.engine import nodes, sharing, worker_pool
from sweeper.engine.cluster import Capacity
from sweeper.engine.room import Shape, Terms
from sweeper.engine.worker_pool import WorkerPool
from sweeper.errors import SpecError
from sweeper.plan import Price
from sweeper.spec import Resources, parse
from sweeper.store.records import NewPack

GIB = 2**30


def price(key: str = "k", /, **memory: int) -> Price:
    """Peaks in GiB by K, such as `k1=2`, on a GPU of 80 GiB of which a process takes 1."""
    return Price(
        key=key,
        seconds_per_step={1: 1.0},
        form="folded",
        steps_per_run=1,
        memory={int(k[1:]): peak * GIB for k, peak in memory.items()},
        context=GIB,
        device_memory=80 * GIB,
    )


def packs(*sizes: int, key: str = "k") -> list[NewPack]:
    return [NewPack(key=key, run_ids=tuple(range(k)), form="", seconds=1.0) for k in sizes]


@pytest.mark.parametrize(
    ("peaks", "k", "expected"),
    [
        ({"k1": 2, "k5": 4}, 1, 2.0),
        ({"k1": 2, "k5": 4}, 3, 3.0),  # halfway
        ({"k1": 2, "k5": 4}, 9, 6.0),  # half a GiB for each further member
        ({"k5": 4}, 2, 4.0),  # never below the least that was measured
        ({"k5": 4}, 10, 8.0),
        ({"k1": 3, "k5": 2, "k10": 4}, 5, 3.0),  # more members never need less
        ({"k1": 3, "k5": 2, "k10": 4}, 19, 5.0),
    ],
)
def test_the_memory_of_a_pack_is_read_off_a_line(
    peaks: dict[str, int], k: int, expected: float
) -> None:
    assert price(**peaks).bytes(k) == expected * GIB


MANY = [20] * 40


@pytest.mark.parametrize(
    ("peak", "gpus", "most", "sizes", "later", "workers", "share"),
    [
        (20, 1, 16, MANY, 0, 3, 0.3333),  # 1.2 x 20 + 1 = 25, and 76 / 25 = 3.04
        (10, 1, 16, MANY, 0, 5, 0.2),  # 13: 5.8
        (4, 1, 16, MANY, 0, 13, 0.0769),  # 5.8: 13.1
        (31, 1, 16, MANY, 0, 1, 1.0),  # 38.2: 1.99
        (79, 1, 16, MANY, 0, 1, 1.0),  # no room by the margin: alone it has the best chance
        (4, 1, 3, MANY, 0, 3, 0.3333),  # three cores
        (4, 2, 16, [20, 20, 20], 0, 2, 0.5),  # two GPUs for three packs
        (4, 1, 16, [20], 0, 1, 1.0),  # one pack
        (4, 1, 16, [20], 3, 4, 0.25),  # and three that follow
    ],
)
def test_as_many_workers_share_a_gpu_as_fit(
    peak: int, gpus: int, most: int, sizes: list[int], later: int, workers: int, share: float
) -> None:
    """By 95 % of the memory, by cores, and by packs; shares are rounded down, so all fit."""
    prices = {"k": price(k20=peak)}
    found = sharing.shared(packs(*sizes), prices, gpus=gpus, most=most, later=later)
    assert (found.workers, found.share) == (workers, share)


def test_the_largest_pack_of_all_kinds_decides() -> None:
    """Each key has its largest pack, whose memory is in its own price."""
    prices = {"a": price("a", k1=2, k20=8), "b": price("b", k1=10, k20=40)}
    planned = [*packs(20, 5, key="a"), *packs(1, 1, key="b")]
    found = sharing.shared(planned, prices, gpus=1, most=16)
    assert found.need == pytest.approx((1.2 * 10 + 1) * GIB)
    assert str(found) == (
        "4 workers share a GPU: a pack needs up to 13.0 GiB of 80.0 GiB (there are no more packs)"
    )


def test_a_pack_whose_memory_is_not_known_has_a_gpu_alone() -> None:
    """A price of an earlier Sweeper, of a processor, and a kind of runs that could not be timed."""
    for prices in ({"k": replace(price(), memory={})}, {}):
        found = sharing.shared(packs(5, 5), prices, gpus=1, most=16)
        assert str(found) == (
            "a worker has a whole GPU (the probe has not measured the memory of every pack)"
        )


class Pool:
    """Knows of GPUs, and keeps the shape that it is given."""

    def __init__(self, *cards: int) -> None:
        self.cards, self.shape = cards, None

    def reshape(self, shape: Shape) -> None:
        self.shape = shape


def settled(gpus: Any, *, here: bool = True, sizes: list[int] = MANY) -> tuple[Any, list[str]]:
    """The shape that workers get, and what the user reads; a pack needs 20 GiB of 80."""
    pool: Any = Pool(1, 16)
    said: list[str] = []
    resources, prices = Resources(cpus=2, gpus=gpus), {"k": price(k20=20)}
    sharing.settle(pool, resources, packs(*sizes), prices, here=here, say=said.append)
    return pool.shape, said


def test_the_user_reads_how_a_gpu_is_shared(monkeypatch, tmp_path: Path) -> None:
    """And whether its workers compute at once, which NVIDIA's daemon decides."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    known = "3 workers share a GPU: a pack needs up to 25.0 GiB of 80.0 GiB; they "
    shape, [line] = settled("auto")
    assert shape == Shape(cpus=2, gpus=0.3333)
    assert line.startswith(f"{known}take turns; `nvidia-cuda-mps-control -d`")
    (tmp_path / "control").touch()
    assert settled("auto")[1] == [f"{known}compute at once, by MPS"]
    assert "where MPS runs" in settled("auto", here=False)[1][0]
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY")
    assert nodes.mps_runs() == Path("/tmp/nvidia-mps/control").exists()  # noqa: S108


def test_workers_that_share_nothing_stay() -> None:
    """One pack needs one worker; a launch without packs has nothing to decide."""
    assert settled("auto", sizes=[20]) == (
        None,
        [
            "a worker has a whole GPU: a pack needs up to 25.0 GiB of 80.0 GiB "
            "(there are no more packs)"
        ],
    )
    assert settled("auto", sizes=[]) == (None, [])


def test_a_stated_share_is_compared_with_what_a_pack_needs() -> None:
    """24 GiB with the margin; the share is the user's, so it is a warning."""
    assert settled(0.25) == (
        None,
        [
            "warning: resources.gpus: 0.25: is 20.0 GiB of 80.0 GiB, and a pack needs up to "
            "24.0 GiB: write 0.3, or auto"
        ],
    )
    for enough in (0.3, 0.5, 1.0, 2.0):
        assert settled(enough) == (None, [])


@pytest.mark.parametrize(("asked", "has"), [("auto", 0), (1.0, 0), (0.5, 0), (2.0, 1)])
def test_a_machine_without_the_gpus_is_refused(asked: Any, has: int) -> None:
    text = TINY.replace("workers: 1}", f"gpus: {asked}}}")
    with pytest.raises(SpecError) as caught:
        sharing.check(parse(text, "s.yaml"), Capacity(cpus=8, gpus=has))
    assert str(caught.value) == (f"s.yaml:9: resources.gpus: {asked!r}: this machine has {has}")
    sharing.check(parse(text, "s.yaml"), Capacity(cpus=8, gpus=2))


def test_an_autoscaler_is_asked_for_workers_of_the_new_shape(monkeypatch) -> None:
    """As many workers as before, with another share, are another request."""
    asked: list[Any] = []
    monkeypatch.setattr(worker_pool, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(worker_pool.ray, "nodes", list)
    pool = WorkerPool(Terms(shape=Shape(cpus=1, gpus=1), most=2, joined=True), say=asked.append)
    pool._request(2)
    idle: Any = SimpleNamespace(id="w", killed=False, kill=lambda: asked.append("killed"))
    pool._workers["w"] = idle
    pool.reshape(Shape(cpus=1, gpus=0.5))
    pool._request(2)
    pool._request(2)
    assert asked == [[{"CPU": 1, "GPU": 1}] * 2, "killed", [{"CPU": 1, "GPU": 0.5}] * 2]
    assert not pool._workers


PRETENDED = """
import ray, trainers.gpu
from functools import partial
if not ray.is_initialized():  # the driver, which counts a GPU that this machine need not have
    ray.init = partial(ray.init, num_gpus=1)
trainers.gpu.peaks = lambda ks, build: {k: (2 + k) << 30 for k in ks}
trainers.gpu.beside = lambda: (1 << 29, 16 << 30)

class Noting(worker.TRAINER):
    def note(self, what):
        share = ray.get_runtime_context().get_assigned_resources()["GPU"]
        (FOLDER / f"{what} {share:g}").touch()

    def time_steps(self, steps):
        self.note("times")
        return super().time_steps(steps)

    def train_round(self):
        self.note("trains")
        return super().train_round()

worker.TRAINER = Noting
"""


def test_workers_time_packs_on_a_whole_gpu_and_train_on_their_share(tmp_path: Path) -> None:
    """On Ray, with a GPU that is pretended: 4 GiB x 1.2 + 0.5 = 5.3 of 16, so two workers share."""
    notes = tmp_path / "notes"
    notes.mkdir()
    plugin = acting.write(notes)
    plugin.write_text(plugin.read_text() + PRETENDED)
    spec = TINY.replace("workers: 1}", "cpus: 0.5, gpus: auto}")
    (tmp_path / "tiny.yaml").write_text(spec)
    ran = sweeper("launch", "tiny.yaml", "--plugin", str(plugin), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "2 workers share a GPU: a pack needs up to 5.3 GiB of 16.0 GiB; they" in ran.stderr
    found = {one.name for one in notes.iterdir() if " " in one.name}
    assert found == {"times 1", "trains 0.5"}

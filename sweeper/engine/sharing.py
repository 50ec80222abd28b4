"""How many workers share a GPU: as many as have room by the memory that the probe measured.

The share is chosen once in a launch, for the packs that are known then. It decides where packs run
and never what they compute, so it is part of no identity. A later pack that needs more memory than
there is fails with it, and is halved like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweeper.engine.cluster import Capacity
from sweeper.engine.nodes import mps_runs
from sweeper.engine.room import Shape
from sweeper.engine.worker_pool import WorkerPool
from sweeper.plan import Price
from sweeper.spec import Resources, Spec
from sweeper.store.records import NewPack

MARGIN = 1.2  # times the peak of a few steps: a whole run may need more
USABLE = 0.95  # of a GPU's memory
PARTS = 10_000  # of a GPU; Ray counts no finer
GIB = 2**30


def check(spec: Spec, capacity: Capacity) -> None:
    """Checks that this machine has the GPUs that a worker asks for.

    Raises:
        SpecError: it has fewer.
    """
    asked = spec.resources.gpus
    if spec.resources.gpus_while_timing > capacity.gpus:
        raise spec.problem("resources.gpus", asked, f"this machine has {capacity.gpus:g}")


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How many workers share a GPU, and why.

    Attributes:
        need: bytes of a worker with the largest pack, its process included.
        total: bytes of the GPU.
        reason: what allows no more workers; empty if it is the memory.
    """

    workers: int
    need: float = 0.0
    total: int = 0
    reason: str = ""

    @property
    def share(self) -> float:
        """A worker's part of a GPU, rounded down, so that all of them fit."""
        return PARTS // self.workers / PARTS

    def __str__(self) -> str:
        one = self.workers == 1
        text = "a worker has a whole GPU" if one else f"{self.workers} workers share a GPU"
        if self.need:
            text += f": a pack needs up to {_gib(self.need)} of {_gib(self.total)}"
        return text + (f" ({self.reason})" if self.reason else "")


def shared(
    packs: Sequence[NewPack],
    prices: Mapping[str, Price],
    *,
    gpus: int,
    most: int,
    later: int = 0,
) -> Sharing:
    """How many workers may share a GPU.

    Args:
        packs: planned for workers with whole GPUs; with more workers they are seldom larger.
        gpus: how many there are.
        most: the most workers on one, as far as cores and the spec allow.
        later: packs that will follow.
    """
    need, total = _need(packs, prices)
    if not need:
        return Sharing(workers=1, reason="the probe has not measured the memory of every pack")
    limits = {
        "": int(USABLE * total / need),
        "cores or resources.workers allow no more": most,
        "there are no more packs": math.ceil((len(packs) + later) / max(gpus, 1)),
    }
    reason = min(limits, key=limits.__getitem__)
    return Sharing(workers=max(1, limits[reason]), need=need, total=total, reason=reason)


def _need(
    packs: Sequence[NewPack], prices: Mapping[str, Price], *, context: bool = True
) -> tuple[float, int]:
    """Bytes of the worker that needs most, and of the smallest GPU; 0 if they are not known."""
    largest: dict[str, int] = {}
    for pack in packs:
        largest[pack.key] = max(len(pack.run_ids), largest.get(pack.key, 0))
    if not all(key in prices and prices[key].memory for key in largest):
        return 0.0, 0
    needs = [
        MARGIN * prices[key].bytes(k) + prices[key].context * context for key, k in largest.items()
    ]
    return max(needs, default=0.0), min((prices[key].device_memory for key in largest), default=0)


def settle(
    pool: WorkerPool,
    resources: Resources,
    packs: Sequence[NewPack],
    prices: Mapping[str, Price],
    *,
    later: int = 0,
    here: bool,
    say: Callable[[str], None],
) -> None:
    """Gives the workers their share under `gpus: auto`; warns of a stated share that is too small.

    Args:
        here: whether the workers run on this machine.
    """
    if resources.gpus == "auto" and packs:
        gpus, most = pool.cards
        found = shared(packs, prices, gpus=gpus, most=most, later=later)
        say(f"{found}; {how_they_compute(here=here)}" if found.workers > 1 else str(found))
        if found.workers > 1:
            pool.reshape(Shape(cpus=resources.cpus, gpus=found.share))
    elif resources.gpus != "auto" and (line := too_small(resources.gpus, packs, prices)):
        say(line)


def too_small(share: float, packs: Sequence[NewPack], prices: Mapping[str, Price]) -> str:
    """A warning if a stated share of a GPU has less memory than the largest pack needs.

    The context of the process is left out: neighbours on the GPU spoil its measurement.
    """
    need, total = _need(packs, prices, context=False)
    if not 0 < share < 1 or need <= share * total:
        return ""
    return (
        f"warning: resources.gpus: {share:g}: is {_gib(share * total)} of {_gib(total)}, and a "
        f"pack needs up to {_gib(need)}: write {min(1.0, math.ceil(100 * need / total) / 100):g}, "
        "or auto"
    )


def how_they_compute(*, here: bool) -> str:
    """Whether workers of a GPU compute at once; the driver sees this machine's MPS alone."""
    if not here:
        return "they compute at once where MPS runs (`sweeper doctor` shows it), else in turns"
    if mps_runs():
        return "they compute at once, by MPS"
    return "they take turns; `nvidia-cuda-mps-control -d` before a launch lets them compute at once"


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"

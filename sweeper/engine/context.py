"""What a launch works with: the user's request, and the session while it has the lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sweeper.engine.cells import CellMaker, Cells
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts
from sweeper.engine.obedience import Crew
from sweeper.engine.progress import Event
from sweeper.engine.worker_pool import WorkerPool
from sweeper.spec import Spec
from sweeper.store.mirror import Start
from sweeper.store.records import Lease, NewCell, Sweep
from sweeper.store.store import Store
from sweeper.store.study import Study


@dataclass(frozen=True, kw_only=True)
class Request:
    """The user's request, and how messages reach the user.

    Attributes:
        ray_address: of a cluster to join; None: a local Ray.
        plugins: absolute paths.
        yes: do not ask before a long sweep.
        command: the command that continues the sweep after an interruption.
        start: finished cells of another sweep, for the sampler.
        make_pool: makes the pool of workers.
        crew: how many workers there may be; the service may change it meanwhile.
    """

    spec: Spec
    storage: str
    interrupts: Interrupts
    say: Callable[[Event], None]
    ray_address: str | None = None
    plugins: tuple[str, ...] = ()
    yes: bool = True
    command: str = "sweeper launch"
    start: Start | None = None
    make_pool: Callable[..., WorkerPool] = WorkerPool
    clock: Callable[[], float] = time.monotonic
    crew: Crew = field(default_factory=Crew)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A request that holds the sweep's lease, with everything that its launch uses.

    Attributes:
        cells: the source of cells; None: adaptive, made once the study is open.
        first: the first cells, checked before anything was made.
        changed: the changes since the last launch, if cells come and go.
    """

    request: Request
    maker: CellMaker
    cells: Cells | None
    first: Sequence[NewCell]
    store: Store
    lease: Lease
    sweep: Sweep
    study: Study
    heartbeat: Heartbeat
    changed: str = "the spec has changed"

    @property
    def spec(self) -> Spec:
        return self.request.spec

"""How far a sweep has come, from a glance: parts of the whole plan, and the time that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from sweeper.analysis.frames import last_epoch
from sweeper.eta import Eta, Seen
from sweeper.spec import ADAPTIVE
from sweeper.states import UNCOUNTED
from sweeper.status import following
from sweeper.store.glance import FAILED, LEFT, NO_VALUE, RUNNING, Glance
from sweeper.store.records import Attempt, Cell, Pack

PARTS = {"tuning": "tuning", "screening": "screening", "report": "reported"}  # in this order
COMPLETE, PRUNED = "c" + NO_VALUE, "p"
REASONS = {letter: ending for ending, letter in FAILED.items()}


@dataclass(frozen=True, kw_only=True)
class PartProgress:
    """The runs of one part of the plan, by state; `left` has those that are still to be planned."""

    title: str
    done: int
    running: int
    failed: int
    pruned: int
    left: int

    @property
    def total(self) -> int:
        return self.done + self.running + self.failed + self.pruned + self.left


class WholePlan:
    """The plan of a glance: the runs that count, by the part that they belong to.

    Attributes:
        order: the places in `glance.runs` of the runs that count, cell by cell.
        places: where each run stands in `glance.runs`, by its id.
        stretches: role -> the first and the last place in `order` of its runs.
    """

    def __init__(self, glance: Glance, before: WholePlan | None = None) -> None:
        self.glance = glance
        if before and before.glance.runs is glance.runs and before.glance.cells is glance.cells:
            self.cells, self.order, self.places = before.cells, before.order, before.places
            self.stretches = before.stretches
            return
        self.places: Mapping[int, int] = {run.id: at for at, run in enumerate(glance.runs)}
        self.cells = {cell.id: cell for cell in glance.cells if not cell.hidden}
        rank = {role: at for at, role in enumerate(PARTS)}
        counted = [
            (rank.get(cell.role, len(rank)), run.cell_id, abs(run.replicate), at)
            for at, run in enumerate(glance.runs)
            if (cell := self.cells.get(run.cell_id)) and run.replicate in cell.replicates
        ]
        self.order = [at for *_, at in sorted(counted)]
        roles = Counter(self.cell(at).role for at in self.order)
        ends = accumulate(roles.values(), initial=0)
        self.stretches = dict(zip(roles, pairwise(ends), strict=True))

    def cell(self, at: int) -> Cell:
        """The cell of the run at this place of `glance.runs`."""
        return self.cells[self.glance.runs[at].cell_id]

    @cached_property
    def letters(self) -> str:
        """The letters of the runs that count, in their order."""
        codes = self.glance.codes
        return "".join([codes[at] for at in self.order])

    @cached_property
    def awaited(self) -> int:
        """The runs that will follow once it is known which."""
        sweep, cells = self.glance.sweep, list(self.cells.values())
        if "tuning" not in self.stretches and sweep.spec["search"]["method"] not in ADAPTIVE:
            return 0
        settled = {*REASONS, PRUNED, NO_VALUE}
        eligible = {
            self.glance.runs[at].cell_id
            for at, code in zip(self.order, self.letters, strict=True)
            if code not in settled
        }
        return following(sweep, cells, eligible=eligible)

    @cached_property
    def parts(self) -> list[PartProgress]:
        """The parts of the plan; the runs that will follow belong to the last one."""
        counts = {
            role: Counter(self.letters[start:end]) for role, (start, end) in self.stretches.items()
        }
        if self.awaited:
            counts.setdefault("report", Counter())
        return [
            _part(PARTS[role], counts[role], more=self.awaited * (role == "report"))
            for role in PARTS
            if role in counts
        ]

    @cached_property
    def failures(self) -> dict[str, int]:
        """The failed runs by reason, the most frequent first."""
        found = Counter(self.letters)
        listed = [(REASONS[code], count) for code, count in found.most_common() if code in REASONS]
        return dict(listed)

    def is_open(self, pack: Pack) -> bool:
        """Whether any run of a pack has not ended."""
        return not self._open.isdisjoint(pack.run_ids)

    @cached_property
    def _open(self) -> frozenset[int]:
        pairs = zip(self.glance.runs, self.glance.codes, strict=True)
        return frozenset([run.id for run, code in pairs if code in (LEFT, RUNNING)])

    @property
    def total(self) -> int:
        return sum(one.total for one in self.parts)

    @property
    def ended(self) -> int:
        return sum(one.done + one.failed + one.pruned for one in self.parts)

    @cached_property
    def may_follow(self) -> int:
        """The most further runs that a plan for replicates may add."""
        sweep, plan = self.glance.sweep, self.glance.sweep.spec.get("replicates")
        if not isinstance(plan, Mapping) or "screen" in plan or sweep.state == "complete":
            return 0
        stages = [one for one in sweep.stages if one["plan"] == plan]
        if stages and stages[-1]["ended"]:
            return 0
        cells = [one for one in self.cells.values() if one.role == "report"]
        most = plan.get("max") or plan["looks"][-1]
        return sum(max(most - len(one.replicates), 0) for one in cells)

    def share(self, attempt: Attempt) -> float:
        """The part of its training that a running attempt has behind it."""
        place = self.places.get(attempt.run_id)
        if place is None or self.glance.runs[place].cell_id not in self.cells:
            return 0.0
        rounds = last_epoch(self.cell(place).config)
        reached = self.glance.epochs.get(attempt.run_id, 0)
        return min(max(reached / rounds, 0.0), 1.0) if rounds else 0.0


def _part(title: str, found: Counter[str], *, more: int) -> PartProgress:
    return PartProgress(
        title=title,
        done=sum(found[code] for code in COMPLETE),
        running=found[RUNNING],
        failed=sum(found[code] for code in REASONS),
        pruned=found[PRUNED],
        left=found[LEFT] + more,
    )


def working(glance: Glance) -> dict[int, list[Attempt]]:
    """The open attempts of each pack that a worker has in hand."""
    packs: dict[int, list[Attempt]] = {}
    for one in glance.running:
        packs.setdefault(one.pack_id, []).append(one)
    return packs


def spent_seconds(glance: Glance) -> float:
    """The training time of all workers so far."""
    return sum(one.seconds for one in glance.spent)


def time_left(planned: WholePlan, *, workers: int) -> tuple[float, float, float] | None:
    """The remaining seconds, at least and at most, as the launch's own display reckons them.

    None while unknown. `workers` were seen lately: between two packs a worker has none in hand.
    """
    glance, hands = planned.glance, working(planned.glance)
    workers = max(workers, len(hands))
    if not workers:
        return None
    eta = Eta(lambda: workers)
    packs = {pack.id: pack for pack in glance.packs}
    for pack, seen in _ended(planned, packs):
        eta.round(str(pack), seen)
        eta.over(str(pack), whole=True)
    took = {one.pack_id: one.seconds for one in glance.spent if not one.ended}
    parts = {}
    for pack, attempts in hands.items():
        parts[pack] = sum(map(planned.share, attempts)) / len(attempts)
        eta.round(str(pack), Seen(packs[pack].seconds, parts[pack], took.get(pack, 0.0)))
    for pack in packs.values():
        if pack.id not in hands and not pack.dissolved and planned.is_open(pack):
            eta.queued(pack.seconds)
    prices = {pack: eta.price(packs[pack].seconds) for pack in hands}
    if any(price is None for price in prices.values()):
        return None
    running = sum((prices[pack] or 0.0) * (1 - part) for pack, part in parts.items())
    return eta.left(running, awaited=_foreseen(planned))


def _ended(planned: WholePlan, packs: Mapping[int, Pack]) -> Iterator[tuple[int, Seen]]:
    """The packs that trained to their end in one attempt."""
    tries = Counter(one.pack_id for one in planned.glance.spent)
    for one in planned.glance.spent:
        pack = packs[one.pack_id]
        if one.ended and tries[pack.id] == 1 and not planned.is_open(pack):
            yield pack.id, Seen(pack.seconds, 1.0, one.seconds)


def _foreseen(planned: WholePlan) -> tuple[float, int]:
    """The price of the runs that will follow: that of as many runs of the packs so far."""
    if not planned.awaited:
        return 0.0, 0
    priced = [pack for pack in planned.glance.packs if pack.seconds > 0]
    runs = sum(len(pack.run_ids) for pack in priced)
    if not runs:
        return 0.0, planned.awaited
    return planned.awaited * sum(pack.seconds for pack in priced) / runs, 0


def tried_again(attempt: Attempt) -> bool:
    """Whether the loss proves nothing about the run."""
    return attempt.ending in UNCOUNTED

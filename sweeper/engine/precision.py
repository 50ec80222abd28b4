"""Adds replicates by a plan: once every run of a stage has ended, the rule decides how many.

The rule's decision is stored with the sweep before anything follows from it. So a driver that dies
in between finds it, and a driver that died before decides again from the same numbers. All compared
cells get the same replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sweeper.design import count
from sweeper.engine.cells import REPORT, CellMaker, Cells
from sweeper.engine.run_tracker import RunTracker
from sweeper.spec import Spec
from sweeper.states import FINISHED
from sweeper.store.records import Cell, Lease, NewCell, Sweep
from sweeper.store.store import Store

if TYPE_CHECKING:
    from sweeper.analysis.frames import Frames
    from sweeper.analysis.stopping import Decision

Stage = dict[str, Any]  # `Sweep.stages`


@dataclass(frozen=True, kw_only=True)
class PlanContext:
    """What a plan decides from, and where its decisions are stored."""

    spec: Spec
    maker: CellMaker
    tracker: RunTracker
    store: Store
    lease: Lease
    sweep: Sweep
    say: Callable[[str], None]


class Staged:
    """Cells of another source, with replicates that grow by the spec's plan."""

    def __init__(self, context: PlanContext, inner: Cells) -> None:
        self._context, self._inner = context, inner
        self._plan = plan_of(context.spec)
        self._kept = list(context.sweep.stages)
        self._extend()

    def first(self) -> list[NewCell]:
        return self.extended(self._inner.first())

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return self._inner.after(cell, values)

    def more(self, wanted: int) -> list[NewCell]:
        """Nothing while a run is open; then the rule's replicates, of every reported cell."""
        found = self._inner.more(wanted)
        if found or self.ended or self._open():
            return found
        self._decide()
        return self._further()

    def unasked(self) -> bool:
        return self._inner.unasked() or not self.ended

    def extended(self, cells: Sequence[NewCell]) -> list[NewCell]:
        """Cells as first planned, with the replicates that were added since."""
        wanted = self._context.maker.replicates[REPORT]
        return [replace(cell, replicates=wanted) if cell.role == REPORT else cell for cell in cells]

    @property
    def ended(self) -> str:
        """Why no further replicates follow; empty while some may."""
        mine = self._mine()
        return str(mine[-1]["ended"]) if mine else ""

    @property
    def text(self) -> str:
        """The rule that stopped the sweep, in a sentence; empty while it continues."""
        return str(self._mine()[-1]["text"]) if self.ended else ""

    @property
    def replicates(self) -> int:
        """The number of replicates that every reported cell should have by now."""
        mine = self._mine()
        return int(mine[-1]["wanted"]) if mine else self._context.spec.replicates

    def may_follow(self) -> int:
        """The most further runs that may follow."""
        spec = self._context.spec
        return 0 if self.ended else (spec.most_replicates - self.replicates) * count(spec)

    def _mine(self) -> list[Stage]:
        return [stage for stage in self._kept if stage["plan"] == self._plan]

    def _open(self) -> bool:
        counts = self._context.tracker.counts()
        return any(number for state, number in counts.items() if state not in FINISHED)

    def _judged(self, frames: Frames) -> Decision:
        from sweeper.analysis import stopping as precision

        rule = precision.rule_of(frames.sweep, replicates=self.replicates)
        assert not isinstance(rule, precision.Fixed)  # noqa: S101  the spec has a plan
        return rule.decide(precision.families(frames), replicates=self.replicates)

    def _decide(self) -> None:
        # Statistics take seconds to import and are needed only here.
        from sweeper.analysis.frames import load

        context = self._context
        self._keep(self._judged(load(context.store, context.spec.name, last_only=True)))

    def _keep(self, said: Decision) -> None:
        """Stores the decision before anything follows from it."""
        context = self._context
        stage = {
            "plan": self._plan,
            "replicates": self.replicates,
            "wanted": said.wanted,
            "ended": said.ended,
            "text": said.text,
            "alpha": said.alpha,
            "facts": [dict(fact) for fact in said.facts],
        }
        context.store.add_stage(context.lease, number=len(self._kept), body=stage)
        self._kept.append(stage)
        self._extend()
        context.say(said.text)

    def _extend(self) -> None:
        # Later picks get the replicates too.
        self._context.maker.replicates[REPORT] = tuple(range(self.replicates))

    def _further(self) -> list[NewCell]:
        if self.ended:
            return []
        wanted = self._context.maker.replicates[REPORT]
        return [replace(cell, replicates=wanted) for cell in self._there(REPORT)]

    def _there(self, role: str) -> list[NewCell]:
        """The cells of a role, as first requested."""
        names = NewCell.__dataclass_fields__
        return [
            NewCell(**{name: getattr(cell, name) for name in names})
            for cell in self._context.tracker.cells.values()
            if cell.role == role
        ]


def plan_of(spec: Spec) -> Any:
    """The plan as stored in the database: a number, or a block."""
    return spec.model_dump(mode="json", include={"planned"})["replicates"]


def keep_fixed(
    spec: Spec, store: Store, lease: Lease, *, stages: Collection[Mapping[str, Any]]
) -> None:
    """Stores that a sweep was complete with a fixed number of replicates, and so could be analysed.

    Replicates added later make a second analysis, which the report states.
    """
    count = spec.replicates
    if any(stage["plan"] == count for stage in stages):
        return
    stage = {
        "plan": count,
        "replicates": count,
        "wanted": count,
        "ended": "fixed",
        "text": "",
        "alpha": 0.05,
        "facts": [],
    }
    store.add_stage(lease, number=len(stages), body=stage)

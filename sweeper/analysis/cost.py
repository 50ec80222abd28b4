"""What would settle an undecided verdict: replicates, the time for them here, and the command."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from sweeper.analysis import student
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEVEL, Estimate, replicates_needed
from sweeper.analysis.measures import POINTS
from sweeper.analysis.overrides import overridden
from sweeper.analysis.stopping import Fixed, GroupSequential, Rule, SteinTwoStage
from sweeper.analysis.verdicts import Price, Verdict, Word
from sweeper.states import Ending, RunState
from sweeper.store.records import Sweep

POWER = 0.8


@dataclass(frozen=True)
class Costs:
    """What a further replicate of every reported cell costs in this sweep.

    Attributes:
        spec: what `sweeper launch` is given: the spec's file, else the sweep's name; empty
            where it was launched from Python.
        planned: replicates of each cell by now, complete or not.
        seconds: of one replicate of all cells, on the workers that were used; None when unknown.
        going_on: whether a plan asks for further replicates anyway.
        launchable: whether Sweeper can make more; else there is no command, and no price.
        overrides: key -> value that the last launch set otherwise than the spec's text.
    """

    spec: str
    planned: int
    seconds: float | None
    rule: Rule
    going_on: bool
    launchable: bool = True
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])

    def priced(self, verdict: Verdict, *, estimate: Estimate) -> Verdict:
        """The verdict; if undecided, with the replicates that would decide it and their time."""
        if verdict.word is not Word.UNDECIDED or self.going_on:
            return replace(verdict, needed=None) if self.going_on else verdict
        rule = self.rule
        df = rule.start - 1 if isinstance(rule, SteinTwoStage) else None
        needed = replicates_needed(estimate, df=df, shares=rule.shares)
        if needed is None or not self.launchable:
            return replace(verdict, needed=needed)
        return replace(verdict, needed=needed, price=self._price(needed, estimate=estimate))

    def settling(self, estimate: Estimate, *, needed: int) -> Price | None:
        """The price of `needed` replicates in all, for a difference of this size; None: no price.

        Nothing is offered while a plan goes on, or for runs that Sweeper did not make.
        """
        if self.going_on or not self.launchable:
            return None
        return self._price(needed, estimate=estimate)

    def _price(self, needed: int, *, estimate: Estimate) -> Price:
        more = needed - estimate.n
        seconds = None if self.seconds is None else more * self.seconds
        return Price(
            more,
            self.planned + more,
            seconds,
            self._command(estimate, more),
            beyond=isinstance(self.rule, GroupSequential),
        )

    def _command(self, estimate: Estimate, more: int) -> str:
        wanted = self.planned + more
        if not isinstance(self.rule, SteinTwoStage):
            key = self.rule.key if isinstance(self.rule, Fixed) else "replicates"
            return self._launch({key: str(wanted)})
        half = min(self.rule.half_width, deciding_half_width(estimate, start=self.rule.start))
        target = half / (POINTS if self.rule.unit == "points" else 1.0)
        cap = max(wanted, self.rule.cap)
        return self._launch({"replicates.target": f"{target:.2g}", "replicates.max": str(cap)})

    def _launch(self, values: dict[str, str]) -> str:
        return again(self.spec, overrides=self.overrides, values=values)


def costs(frames: Frames, *, rule: Rule) -> Costs:
    """The costs of this sweep's replicates, from what its own have taken."""
    sweep = frames.sweep
    planned = int(frames.reported_runs["replicate"].nunique())
    fixed = not isinstance(rule, GroupSequential | SteinTwoStage)
    ended = (
        any(one["ended"] for one in sweep.stages if one["plan"] == sweep.spec["replicates"])
        if not fixed
        else True
    )
    seconds, ours = block_seconds(frames), not frames.imported
    changed = {key: _plain(now) for key, (_, now) in overridden(sweep).items()}
    return Costs(_hint(sweep), planned, seconds, rule, not ended, ours, changed)


def relaunch(sweep: Sweep, values: Mapping[str, str] | None = None) -> str:
    """The command that launches a sweep as it was last launched, with these values set besides."""
    changed = {key: _plain(now) for key, (_, now) in overridden(sweep).items()}
    return again(_hint(sweep), overrides=changed, values=values or {})


def again(spec: str, *, overrides: Mapping[str, str], values: Mapping[str, str]) -> str:
    """The command that launches a spec with these values set; without a file, the call.

    `values` take the place of the last launch's own `overrides` of the same keys.
    """
    new = {key.partition(".")[0] for key in values}
    kept = {key: value for key, value in overrides.items() if key.partition(".")[0] not in new}
    setting = kept | dict(values)
    if not spec:
        inner = ", ".join(f'"{key}": {value}' for key, value in setting.items())
        return f"sweeper.launch(spec, set={{{inner}}})"
    words = [f"--set {shlex.quote(f'{key}={one}')}" for key, one in setting.items()]
    return " ".join(["sweeper launch", shlex.quote(spec), *words])


def _hint(sweep: Sweep) -> str:
    """What `sweeper launch` is given; empty where the sweep was launched from Python."""
    return str(sweep.provenance.get("spec_file", sweep.name))


def _plain(value: str) -> str:
    """A value of JSON as `--set` takes it: words without their quotation marks."""
    found = json.loads(value)
    return found if isinstance(found, str) and found else value


def block_seconds(frames: Frames) -> float | None:
    """Seconds of one replicate of all reported cells; None before any is complete.

    Worker time of the packs that hold reported runs, whose members train in the same seconds,
    over the workers that were busy at once and over the replicates that became complete.
    """
    runs = frames.reported_runs
    complete = int((runs["state"] == RunState.COMPLETE).sum())
    tried = frames.attempts[frames.attempts["run_id"].isin(runs.index)]
    tried = tried.dropna(subset=["ended_at"])
    if not complete or not len(tried):
        return None
    packs = tried.groupby(["pack_id", "started_at"], as_index=False).agg(
        ended_at=("ended_at", "max"), seconds=("seconds", "max")
    )
    total = float(packs["seconds"].sum())
    blocks = complete / max(len(frames.reported), 1)
    return total / busy(packs["started_at"], packs["ended_at"]) / blocks


def fused_gain(frames: Frames) -> float | None:
    """How many times as fast the complete packs are as their runs one by one, by the probe.

    Both are times of the probe, made under the same conditions: a run alone, and the pack. None
    where no pack has several runs, or where the probe timed none alone.
    """
    alone = frames.sweep.provenance.get("seconds_alone") or {}
    packs, runs = frames.packs, frames.reported_runs
    complete = runs.index[runs["state"] == RunState.COMPLETE]
    tried = frames.attempts[frames.attempts["run_id"].isin(complete)]
    tried = tried[tried["ending"].astype(str) == Ending.COMPLETE]
    total = spent = 0.0
    fused = False
    keys, seconds = packs["key"].to_dict(), packs["seconds"].to_dict()
    for pack, members in Counter(tried.drop_duplicates("run_id")["pack_id"]).items():
        single, took = float(alone.get(keys[pack], 0.0)), float(seconds[pack])
        if single > 0 and took > 0:
            total, spent = total + single * members, spent + took
            fused = fused or members > 1
    return total / spent if fused else None


def busy(started: pd.Series, ended: pd.Series) -> float:
    """How many of these spans of time ran at once, on average while any did; at least 1."""
    spans = sorted(zip(pd.to_datetime(started), pd.to_datetime(ended), strict=True))
    total = sum((end - start).total_seconds() for start, end in spans)
    covered, until = 0.0, None
    for start, end in spans:
        begin = start if until is None or start > until else until
        covered += max((end - begin).total_seconds(), 0.0)
        until = end if until is None else max(until, end)
    return max(total / covered, 1.0) if covered > 0 else 1.0


def deciding_half_width(estimate: Estimate, *, start: int, power: float = POWER) -> float:
    """The half-width under which Stein's interval would leave 0 out, for a change of this size.

    The final mean less the truth, over `s0 / sqrt(N)`, is t with n0 - 1 df: it exceeds h with
    probability `power` when the change is `h (1 + t(power) / T)`.
    """
    tail = (1 - LEVEL) / (2 * estimate.family)
    wide, near = student.quantile([1 - tail, power], start - 1)
    return float(abs(estimate.value) / (1 + near / wide))

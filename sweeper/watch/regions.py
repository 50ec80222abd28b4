"""What the parts of a live page say, from a glance: banner, progress, machines, events, commands.

Everything is words and numbers for the templates; nothing here reads the database.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sweeper.analysis.cost import relaunch
from sweeper.analysis.factors import name_of, show
from sweeper.analysis.wording import capitalised, duration, joined
from sweeper.drawing.redact import scrub
from sweeper.states import Ending
from sweeper.store.glance import MOST_EVENTS, Pulse
from sweeper.store.lease import BEAT
from sweeper.store.records import Attempt
from sweeper.watch.progress import WholePlan, spent_seconds, time_left, tried_again, working

SILENT = 2 * BEAT  # seconds without a beat after which a page says so
MOST_LINE = 200  # characters of an error
ALIKE = 3  # failures of one reason that a banner names


@dataclass(frozen=True)
class Banner:
    """A line above everything else: what is wrong, or that the sweep has ended."""

    kind: str  # "bad", "warn", "good"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Hand:
    """A worker and the pack that it has in hand."""

    worker: str
    device: str
    work: str
    share: float
    heard_at: float


@dataclass(frozen=True)
class Happening:
    """One line of the list of events; `at` is None where the moment is not recorded."""

    at: float | None
    kind: str
    text: str


@dataclass(frozen=True)
class Advice:
    """A command to copy, and what it does."""

    what: str
    command: str


class Around(StrEnum):
    """What stands around the pages, and so which links and commands they have."""

    NOTHING = "nothing"  # `sweeper watch`: the list of sweeps, and each sweep
    SERVICE = "service"  # also the queue, and what may be done with a sweep
    LINK = "link"  # one sweep alone, for somebody who may do nothing with it


def banners(planned: WholePlan, pulse: Pulse, *, around: Around = Around.NOTHING) -> list[Banner]:
    """What a reader must see first; none while all is well."""
    sweep, found = planned.glance.sweep, []
    again = _next(planned, around)
    age = max(pulse.at - pulse.beat, 0.0)
    if sweep.state == "halted":
        reason = scrub(sweep.state_reason) or "no reason was recorded"
        found.append(Banner("bad", f"Halted: {reason}.".replace("..", "."), again))
    elif sweep.state == "interrupted":
        text = f"No driver: the last sign of one was {_ago(age)}. Nothing recorded is lost."
        if around is Around.SERVICE:
            text = "No driver trains it now: it waits in the queue, or was stopped."
            found.append(Banner("warn", text, f"sweeper show {shlex.quote(sweep.name)}"))
        else:
            found.append(Banner("bad", text, again))
    elif sweep.alive and age > SILENT:
        text = f"The driver has been silent for {duration(_steady(age))}. Nothing recorded is lost."
        found.append(Banner("warn", text))
    elif sweep.state == "complete" and planned.ended == planned.total:
        found.append(Banner("good", f"Finished: {_ended_words(planned)}. This page is the report."))
    return [*found, *_alike(planned)]


def _next(planned: WholePlan, around: Around) -> str:
    """The command that makes a sweep go on; empty for who may not."""
    sweep = planned.glance.sweep
    match around:
        case Around.NOTHING:
            return relaunch(sweep)
        case Around.SERVICE:
            return f"sweeper resume {shlex.quote(sweep.name)}"
        case Around.LINK:
            return ""


def _ended_words(planned: WholePlan) -> str:
    lost = [f"{sum(planned.failures.values())} failed"] if planned.failures else []
    pruned = sum(one.pruned for one in planned.parts)
    lost += [f"{pruned} pruned"] if pruned else []
    return ", ".join([f"{planned.ended} of {planned.total} runs ended", *lost])


def _alike(planned: WholePlan) -> Iterator[Banner]:
    """Many failures of one reason."""
    for reason, count in planned.failures.items():
        if count >= ALIKE:
            yield Banner("warn", f"{count} of {planned.total} runs failed alike: {words(reason)}.")


def _ago(seconds: float) -> str:
    return f"{duration(_steady(seconds))} ago"


def _steady(seconds: float) -> float:
    """Rounded, so that a text does not change with every look."""
    step = 5.0 if seconds < 90 else 60.0
    return step * round(seconds / step)


def words(ending: str) -> str:
    return str(ending).replace("_", " ")


def progress(planned: WholePlan, pulse: Pulse, *, workers: int) -> dict[str, Any]:
    """The parts of the bar, and the times; `workers` were seen lately."""
    left = time_left(planned, workers=workers) if planned.glance.sweep.alive else None
    spent = spent_seconds(planned.glance)
    return {
        "parts": planned.parts,
        "total": planned.total,
        "ended": planned.ended,
        "awaited": planned.awaited,
        "may_follow": planned.may_follow,
        "spent": duration(spent) if spent else "",
        "left": _left_words(left, ended=planned.ended == planned.total),
        "until": pulse.at + left[0] if left else None,
        "hours_left": duration(left[0] * max(workers, 1)) if left else "",
        "failures": joined([f"{n} {words(one)}" for one, n in planned.failures.items()]),
    }


def _left_words(left: tuple[float, float, float] | None, *, ended: bool) -> str:
    if left is None:
        return "none" if ended else "not known"
    seconds, low, high = left
    return f"about {duration(seconds)} ({duration(low)} to {duration(high)})"


def machines(planned: WholePlan, *, hosts: bool, heard: Mapping[int, float]) -> list[Hand]:
    """The workers, each with what it has in hand.

    Args:
        hosts: whether names of machines may be shown.
        heard: when each pack was last heard of, by the database's clock.
    """
    found = []
    hands = working(planned.glance)
    nodes = sorted({attempts[0].node for attempts in hands.values()})
    for pack, attempts in sorted(hands.items()):
        first = attempts[0]
        node = first.node if hosts else f"machine {nodes.index(first.node) + 1}"
        known = sum(map(planned.share, attempts)) / len(attempts)
        began = min(one.started_at for one in attempts).timestamp()
        found.append(
            Hand(
                worker=node if first.node else "starting",
                device=first.device,
                work=_in_hand(planned, attempts),
                share=known,
                heard_at=heard.get(pack, began),
            )
        )
    return found


def _in_hand(planned: WholePlan, attempts: Sequence[Attempt]) -> str:
    """`4 runs: batch size 2, train ratio 1 (replicates 0 and 1), and 1 more cell`."""
    of: dict[int, list[int]] = {}
    for one in attempts:
        run = planned.glance.runs[planned.places[one.run_id]]
        of.setdefault(run.cell_id, []).append(run.replicate)
    told = [
        f"{label(planned, cell)} ({_replicates(replicates)})"
        for cell, replicates in list(of.items())[:2]
    ]
    more = len(of) - len(told)
    if more:
        told.append(f"{more} more cell{'s' if more > 1 else ''}")
    count = "1 run" if len(attempts) == 1 else f"{len(attempts)} runs"
    return f"{count}: {'; '.join(told)}"


def _replicates(numbers: Sequence[int]) -> str:
    """Replicates as a reader counts them; those of tuning are negative."""
    found = sorted(abs(one) for one in numbers)
    if len(found) == 1:
        return f"replicate {found[0]}"
    whole = found == list(range(found[0], found[-1] + 1)) and len(found) > 2
    return (
        f"replicates {found[0]} to {found[-1]}"
        if whole
        else f"replicates {joined([*map(str, found)])}"
    )


def label(planned: WholePlan, cell_id: int, *, tuned: bool = True) -> str:
    """`batch size 8, train ratio 0.05`, with the `tuned` factors of a tuning cell."""
    cell, spec = planned.cells.get(cell_id), planned.glance.sweep.spec
    if cell is None:
        return "a cell that is no longer in the spec"
    paths = [*spec.get("scientific", {})]
    if cell.role == "tuning" and tuned:
        paths += list(spec.get("nuisance") or {})
    told = [f"{name_of(path)} {show(cell.factors[path])}" for path in paths if path in cell.factors]
    return ", ".join(told) or f"cell {cell_id}"


def events(planned: WholePlan) -> list[Happening]:
    """What happened, the newest first: losses, take-overs, and decisions of the plan."""
    glance = planned.glance
    found = list(_losses(planned))
    found += [
        Happening(one.started_at, "take-over", "Another launch took the sweep over.")
        for one in glance.takeovers
    ]
    found.sort(key=lambda one: -(one.at or 0.0))
    looks = [
        Happening(None, "decision", f"{capitalised(str(one['text']))}.")
        for one in reversed(glance.sweep.stages)
        if one.get("text")
    ]
    return [*looks, *found][:MOST_EVENTS]


def _losses(planned: WholePlan) -> Iterator[Happening]:
    """Lost attempts; those of a pack that ended at one moment for one reason are one event."""
    groups: dict[tuple[Any, ...], list[Attempt]] = {}
    for one in planned.glance.lost:
        groups.setdefault((one.ended_at, one.pack_id, one.ending), []).append(one)
    for (ended_at, _, ending), attempts in groups.items():
        first = next((one.error for one in attempts if one.error.strip()), "")
        runs = [planned.places[one.run_id] for one in attempts if one.run_id in planned.places]
        failed = sum(planned.glance.codes[at].isupper() for at in runs)
        what = _lost_runs(planned, runs)
        then = "" if failed == len(runs) else ", tried again"
        if not tried_again(attempts[0]) and failed:
            then = ", failed" if failed == len(runs) else f", {failed} of them failed"
        line = first_line(first)
        text = f"{capitalised(what)}{then}" + (f": {line}" if line else ".")
        yield Happening(ended_at.timestamp(), words(ending), text)


def _lost_runs(planned: WholePlan, runs: Sequence[int]) -> str:
    if len(runs) != 1:
        return f"{len(runs)} runs of a pack"
    run = planned.glance.runs[runs[0]]
    return f"{label(planned, run.cell_id)}, {_replicates([run.replicate])}"


def first_line(error: str) -> str:
    """The line of an error that says what happened, without paths."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    return scrub(lines[-1])[:MOST_LINE] if lines else ""


def service_commands(planned: WholePlan) -> list[Advice]:
    """The commands that make sense now for users of a service."""
    sweep = planned.glance.sweep
    name = shlex.quote(sweep.name)
    found = [Advice("What waits, and why", "sweeper queue")]
    if sweep.alive:
        found.append(Advice("Stop after the current round", f"sweeper stop {name}"))
    elif planned.ended < planned.total:
        found.append(Advice("Go on where it stopped", f"sweeper resume {name}"))
    if planned.failures and not sweep.alive:
        found.append(Advice("Try failed runs again", f"sweeper retry {name} --service last"))
    replicates = sweep.spec.get("replicates")
    if isinstance(replicates, int):
        more = f"sweeper extend {name} --set replicates={2 * replicates}"
        found.append(Advice("Twice as many replicates; only what is missing runs", more))
    found.append(Advice("Save the report, one page", f"sweeper report {name} --service last"))
    if sweep.state == "complete":
        best = f"sweeper best {name} --service last"
        found.append(Advice("Print the recommended configuration", best))
    found.append(Advice("Save everything, one file", f"sweeper archive {name} --service last"))
    return found


def commands(
    planned: WholePlan, *, where: str, holder: bool, around: Around = Around.NOTHING
) -> list[Advice]:
    """The commands that make sense now.

    Args:
        where: the option that names the database; may be empty.
        holder: whether the process and its machine may be named.
    """
    if around is not Around.NOTHING:
        return service_commands(planned) if around is Around.SERVICE else []
    sweep, found = planned.glance.sweep, []
    name = shlex.quote(sweep.name)
    imported = bool(sweep.provenance.get("imported"))
    if sweep.alive and sweep.holder:
        stop = f"kill -INT {sweep.holder['pid']}" if holder and sweep.holder.get("pid") else ""
        found.append(
            Advice("Stop after the current round: Ctrl-C in the terminal of the launch", stop)
        )
    elif not imported:
        if planned.failures:
            reasons = [one for one in planned.failures if one != Ending.DIVERGED]
            more = f" --reason {reasons[0]}" if len(planned.failures) > 1 and reasons else ""
            retry = f"sweeper retry {name}{more}{where}"
            found.append(Advice("Let the next launch try failed runs again", retry))
        if planned.ended < planned.total or planned.failures:
            found.append(Advice("Go on where it stopped", relaunch(sweep) + where))
        replicates = sweep.spec.get("replicates")
        if sweep.state == "complete" and isinstance(replicates, int):
            longer = relaunch(sweep, {"replicates": str(2 * replicates)})
            found.append(
                Advice("Twice as many replicates; only what is missing runs", longer + where)
            )
    found.append(Advice("Save the report, one page", f"sweeper report {name}{where}"))
    if sweep.state == "complete":
        found.append(Advice("Print the recommended configuration", f"sweeper best {name}{where}"))
    return found

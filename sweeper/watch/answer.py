"""What a sweep says by now, in the report's words: the answer, and the sections that may be shown.

Between the planned looks there is no verdict, so nothing that tests is shown: neither differences
nor p values. When the sweep has ended, the page is the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import show
from sweeper.analysis.frames import Frames
from sweeper.analysis.prospects import overtaken
from sweeper.analysis.stopping import GroupSequential, stages_of
from sweeper.analysis.view import SweepView, view_of
from sweeper.analysis.wording import share
from sweeper.drawing.figure import Figure, Section
from sweeper.topics.base import Topic
from sweeper.topics.failures import section as failures
from sweeper.topics.headline.text import Lead, lead
from sweeper.topics.per_class import section as per_class
from sweeper.topics.registry import topics
from sweeper.topics.response import section as response
from sweeper.topics.training_curves import section as training_curves
from sweeper.topics.tuning_curve import section as tuning_curve

# What is shown of a sweep that goes on: pictures of what was measured, no tests.
LIVE = (response, training_curves, per_class, tuning_curve, failures)


@dataclass(frozen=True)
class Look:
    """What a planned look decided."""

    lead: Lead
    text: str
    alpha: float
    chance: str  # that further replicates change which level leads; empty where nothing says


@dataclass(frozen=True)
class Answer:
    """The answer of now.

    Attributes:
        ended: whether no run is to come: then the page is the report.
        look: the last planned look, while runs are to come.
        blocks: `n = 2 of 5 complete`, while runs are to come; may be empty.
    """

    view: SweepView
    ended: bool
    look: Look | None
    blocks: str
    shown: tuple[tuple[Topic, Section], ...]


def answer(frames: Frames) -> Answer:
    """The answer of a sweep as its frames are."""
    view = view_of(frames)
    if not view.to_come:
        return Answer(view, True, None, "", ())
    live = [module.TOPIC for module in LIVE]
    built = ((one, one.section(view)) for one in topics(view) if one in live)
    shown = tuple((one, section) for one, section in built if section is not None)
    shown = tuple((one, _with_places(section, view)) for one, section in shown)
    return Answer(view, False, look(frames), _blocks(view), shown)


def _blocks(view: SweepView) -> str:
    """How many replicates are complete, where levels are compared within replicates."""
    if view.comparable.comparison is not Comparison.PAIRED or view.question is None:
        return ""
    planned = int(view.frames.reported_runs["replicate"].nunique())
    return f"n = {view.blocks} of {planned} complete"


def _with_places(section: Section, view: SweepView) -> Section:
    """The response curve with how many of the planned runs each level has."""
    if section.id != "response" or view.x is None:
        return section
    counts = places(view)
    return replace(section, figures=tuple(_counted(one, view, counts) for one in section.figures))


def places(view: SweepView) -> dict[Any, tuple[int, int]]:
    """For each level of the axis, the complete runs and the planned ones."""
    runs, x = view.frames.reported_runs, view.x
    assert x is not None  # noqa: S101  the caller looked
    found: dict[Any, tuple[int, int]] = dict.fromkeys(x.levels, (0, 0))
    factors = view.frames.cells["factors"]
    for cell, state in zip(runs["cell"], runs["state"], strict=True):
        level = factors[cell].get(x.path)
        if level in found:
            done, total = found[level]
            found[level] = done + (state == "complete"), total + 1
    return found


def _counted(figure: Figure, view: SweepView, counts: Mapping[Any, tuple[int, int]]) -> Figure:
    """A panel whose ticks say how many runs are there: `8`, below it `3 of 10`."""
    x = view.x
    assert x is not None  # noqa: S101  the caller looked
    ticks = {show(level): counts[level] for level in x.levels}
    axis = dict(figure.layout["xaxis"])
    axis["ticktext"] = [
        f"{text}<br>{ticks[text][0]} of {ticks[text][1]}" if text in ticks else text
        for text in axis["ticktext"]
    ]
    axis["title"] = {"text": f"{axis['title']['text']}, runs complete"}
    return replace(figure, layout={**figure.layout, "xaxis": axis})


def look(frames: Frames) -> Look | None:
    """The last planned look, by the replicates that it had; None before the first one."""
    stages = stages_of(frames.sweep)
    if not stages:
        return None
    last = stages[-1]
    view = view_of(until(frames, int(last["replicates"])))
    if view.to_come or not isinstance(view.rule, GroupSequential):
        return None
    return Look(lead(view), str(last["text"]), float(last["alpha"]), _chance(view))


def until(frames: Frames, replicates: int) -> Frames:
    """The frames as they were with so many replicates of the reported cells."""
    reported = frames.runs["cell"].isin(frames.reported.index)
    runs = frames.runs[~reported | (frames.runs["replicate"] < replicates)]
    return replace(
        frames,
        runs=runs,
        numbers=frames.numbers[frames.numbers.index.isin(runs.index)],
        curves=frames.curves[frames.curves["run"].isin(runs.index)],
        correct=frames.correct[frames.correct.index.isin(runs.index)],
    )


def _chance(view: SweepView) -> str:
    """How likely the rest of the plan is to change which level leads."""
    rule, factor = view.rule, view.question
    if not isinstance(rule, GroupSequential) or factor is None or not view.grid:
        return ""
    y = view.levels(view.objective, factor=factor)
    more = rule.looks[-1] - view.blocks
    chance = overtaken(y, more=more, direction=view.objective.direction)
    if chance is None:
        return ""
    return (
        f"If all {rule.looks[-1]} replicates are run, the chance that another {factor.name} leads "
        f"is about {share(chance)}."
    )

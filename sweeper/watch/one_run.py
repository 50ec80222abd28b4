"""One run of the grid in words, and its curve as a figure of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sweeper.analysis.factors import name_of, show
from sweeper.analysis.frames import last_epoch
from sweeper.analysis.measures import POINTS, objective
from sweeper.analysis.measures import words as metric_words
from sweeper.analysis.wording import duration
from sweeper.drawing.figure import Figure, numbers, text
from sweeper.store.glance import History
from sweeper.watch.progress import WholePlan
from sweeper.watch.regions import first_line, label, words

ID = "one-run"


def described(planned: WholePlan, story: History, run_id: int, *, hosts: bool) -> dict[str, Any]:
    """The run's sentence, and its curve where it has one."""
    place = planned.glance.runs[planned.places[run_id]]
    figure = curve(planned, story) if len(story.curve) > 1 else None
    return {
        "text": f"{_head(planned, place.cell_id, place.replicate)}: {_state(planned, story)}. "
        + " ".join(_attempts(story, hosts=hosts)),
        "figure": asdict(figure) if figure else None,
    }


def _head(planned: WholePlan, cell_id: int, replicate: int) -> str:
    cell = planned.cells.get(cell_id)
    tuned = [
        f"{name_of(path)} {show(cell.factors[path])}"
        for path in planned.glance.sweep.spec.get("nuisance") or {}
        if cell and cell.role != "tuning" and path in cell.factors
    ]
    return f"Replicate {abs(replicate)} of {', '.join([label(planned, cell_id), *tuned])}"


def _state(planned: WholePlan, story: History) -> str:
    run, cell = story.run, planned.cells.get(story.run.cell_id)
    code = planned.glance.codes[planned.places[run.id]]
    state = {".": "left", "r": "running", "p": "pruned"}.get(code, str(run.state))
    if code.isupper() and run.ending:
        state = f"failed ({words(run.ending)})"
    if not run.epoch:
        return state
    of = f" of {last_epoch(cell.config)}" if cell else ""
    return f"{state}, {run.epoch}{of} evaluations, {duration(run.seconds)} of training"


def _attempts(story: History, *, hosts: bool) -> Iterator[str]:
    many = len(story.attempts) > 1
    for one in story.attempts:
        where = one.device + (f" of {one.node}" if hosts and one.node else "")
        ended = words(one.ending) if one.ending else "goes on"
        line = first_line(one.error)
        told = f"{ended}{f': {line}' if line else ''}"
        if many or line or where:
            name = f"Attempt {one.number}" if many else "Trained"
            yield (
                f"{name}{f' on {where}' if where else ''}: {told}."
                if many or line
                else (f"Trained on {where}.")
            )


def curve(planned: WholePlan, story: History) -> Figure:
    """The objective of the run by evaluation."""
    sweep = planned.glance.sweep
    measure = objective(sweep.spec)
    scale = POINTS if measure.unit == "points" else 1.0
    finite = [(epoch, scale * value) for epoch, value in story.curve if math.isfinite(value)]
    title = f"{metric_words(measure.name)} on {sweep.objective_split}"
    axis = f"{title} (%)" if scale > 1 else title
    steps = sweep.spec["budget"]["unit"] == "steps"
    return Figure(
        ID,
        f"{title} of this run",
        f"{title} of the chosen run.",
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": numbers([epoch for epoch, _ in finite]),
                "y": numbers([value for _, value in finite]),
                "name": "",
                "hovertemplate": "%{x}: %{y:.4g}<extra></extra>",
                "line": {"color": "@level0", "width": 2.2},
                "marker": {"color": "@level0", "size": 6},
            }
        ],
        {
            "xaxis": {
                "title": {"text": "evaluation" if steps else "epoch"},
                "rangemode": "tozero",
            },
            "yaxis": {"title": {"text": text(axis)}},
            "height": 240,
        },
    )

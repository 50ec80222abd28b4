"""The summary that stands as the study's note in Optuna's dashboard: a few lines of Markdown."""

from __future__ import annotations

import re

from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.states import RunState
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats

SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#!|~&@]|:(?=//)|^[-+=]|(?<=^\d)[.)]|(?<=www)\.)")


def note(view: SweepView) -> str:
    """The sweep's answer in Markdown; every free text is shown as written."""
    frames, lead = view.frames, words.lead(view)
    runs = frames.reported_runs
    complete = int((runs["state"] == RunState.COMPLETE).sum())
    parts = [f"**{plain(frames.sweep.question or frames.sweep.name)}**", plain(lead.headline)]
    parts += [plain(one) for one in lead.more]
    parts += ["\n".join(_mark(mark) for mark in lead.marks)] if lead.marks else []
    parts += [plain(lead.basis)] if lead.basis else []
    parts += [plain(line.text) for line in words.lines(view)]
    parts += ["\n".join(f"- {plain(one)}" for one in caveats(view))]
    parts.append(
        f"{complete} of {len(runs)} runs complete. The figures: `sweeper report`, or "
        "under Study Artifacts in `sweeper dashboard`. A configuration to use: `sweeper best`."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _mark(mark: words.Mark) -> str:
    size = number(mark.estimate.value, unit=mark.unit, signed=True)
    return "- " + plain(f"{mark.label}: {size} ({interval(mark.estimate, unit=mark.unit)})")


def plain(text: str) -> str:
    """Text in which no character is Markdown or HTML, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))

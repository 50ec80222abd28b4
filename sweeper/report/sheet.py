"""One sweep on one A4 page: the answer, one figure, one table, how sure it is, what it cost.

It is made like the whole page, from the block of data that it carries, so that `sweeper verify`
can make it again. Nothing in it needs a script.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sweeper import __version__
from sweeper.analysis.frames import Frames, Reads, load
from sweeper.analysis.view import SweepView, view_of
from sweeper.drawing.figure import Figure
from sweeper.drawing.svg import svg
from sweeper.drawing.table import Table
from sweeper.report import archive as carry
from sweeper.report import page
from sweeper.report.manifest import manifest
from sweeper.topics.cells import section as cells
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.response import section as response

MARK = '<html lang="en" class="sheet">'  # by which a sheet is told from a whole page
MOST_ROWS = 12
MOST_CAVEATS = 3
LEFT_OUT = ("cell", "hash", "measure", "sd", "min", "median", "max", "failed or pruned", "updates")


@dataclass(frozen=True)
class Sheet:
    """What stands on the page.

    Attributes:
        sure: sentences on how sure the answer is, the most important first.
        cost: (label, value) of what the sweep took.
    """

    name: str
    question: str
    lead: words.Lead
    figure: Figure | None
    table: Table | None
    sure: tuple[str, ...]
    cost: tuple[tuple[str, str], ...]


def write(store: Reads, name: str, *, out: Path, force: bool = False) -> Path:
    """Write the sheet of the sweep `name` to `out`.

    Raises:
        InputError: as of `page.write`.
        StoreError: there is no such sweep.
    """
    page.check_target(out, force=force)
    return page.save(html(load(store, name)), out=out)


def html(frames: Frames) -> str:
    """The sheet as text."""
    return remake(carry.dump(carry.clean(frames)))


def remake(block: bytes) -> str:
    """The sheet that carries these data.

    Raises:
        CarryError: the block cannot be read.
    """
    frames = carry.read(block)
    made, style = sheet_of(view_of(frames)), page.text_of("sheet.css")
    return (
        page.environment()
        .get_template("sheet.html")
        .render(
            mark=Markup(MARK),  # noqa: S704 constant
            generator=Markup(page.GENERATOR),  # noqa: S704 constant
            style=Markup(style),  # noqa: S704 our own file
            allowed=page.source(style),
            sheet=made,
            picture=Markup(svg(made.figure)) if made.figure else "",  # noqa: S704 escaped there
            version=__version__,
            manifest=page.payload(manifest(frames, block)),
            data=base64.b64encode(block).decode(),
        )
    )


def sheet_of(view: SweepView) -> Sheet:
    """What a colleague needs to know of a sweep."""
    sweep, lead = view.frames.sweep, words.lead(view)
    drawn = response.panels(view)
    return Sheet(
        sweep.name,
        sweep.question or sweep.name,
        lead,
        drawn[0] if drawn else None,
        _table(view),
        tuple(_sure(view, lead)),
        tuple(page.facts(view.frames)),
    )


def _table(view: SweepView) -> Table | None:
    """The objective at each level; of cells that are no grid, the cells."""
    whole = response.table(view, measures=[view.objective])
    if whole is None and len(view.frames.reported):
        whole = cells.table(view)
    if whole is None or not whole.rows:
        return None
    kept = [at for at, name in enumerate(whole.head) if name not in LEFT_OUT]
    rows = [tuple(row[at] for at in kept) for row in whole.rows[:MOST_ROWS]]
    left = len(whole.rows) - len(rows)
    return Table(
        f"{view.objective.title[:1].upper()}{view.objective.title[1:]} on the test split"
        + (f", the first {len(rows)} of {len(whole.rows)} rows" if left else ""),
        tuple(whole.head[at] for at in kept),
        tuple(rows),
        frozenset(range(len(kept))),
        "95 % t interval of each mean over n replicates, each on its own.",
    )


def _sure(view: SweepView, lead: words.Lead) -> list[str]:
    """The basis of the answer, its fairness, and what to know before relying on it."""
    told: list[str] = [words.progress(view.frames), lead.basis, page.caution_of(view)]
    if lead.claim is not None:
        missing = ", ".join(one.name for one in lead.claim.missing)
        told.append(f"Fairness in doubt, not met: {missing}." if missing else "Fair comparison.")
    warned = caveats(view)
    told += warned[:MOST_CAVEATS]
    if len(warned) > MOST_CAVEATS:
        told.append("The whole report has more remarks.")
    return [_ended(one).replace(" below.", " in the whole report.") for one in told if one]


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def texts(made: Sheet) -> dict[str, Any]:
    """The parts in words, for a drawing of the sheet."""
    return {
        "The answer": [made.lead.headline, *made.lead.more],
        "How sure": list(made.sure),
        "What it cost": [", ".join(f"{label} {value}" for label, value in made.cost)],
    }

"""A sweep as a notebook shows it: the question, the answer and the response curve.

It is static HTML: no script and no network, so it stays readable in a saved notebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import Figure
from sweeper.drawing.svg import svg
from sweeper.report.page import commands
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats


def card(view: SweepView, curve: Figure | None) -> str:
    """The HTML of one sweep; `curve` is its response curve, where there is one."""
    return f'<div style="max-width: 640px">{"".join(_parts(view, curve))}</div>'


def _parts(view: SweepView, curve: Figure | None) -> Iterator[str]:
    sweep, lead = view.frames.sweep, words.lead(view)
    yield f"<p><b>{escape(sweep.question or sweep.name)}</b></p>"
    yield f"<p>{commands(' '.join((lead.headline, *lead.more)))}</p>"
    if lead.basis:
        yield _small(lead.basis)
    if curve is not None:
        yield svg(curve)
    if partial := words.progress(view.frames):
        yield _small(f"So far: {partial}.")
    for caveat in caveats(view):
        yield _small(caveat)


def _small(text: str) -> str:
    return f"<p><small>{commands(text)}</small></p>"

"""A sweep as a notebook shows it: the question, the answer and the response curve.

It is static HTML: no script and no network, so it stays readable in a saved notebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sweeper.analysis import words
from sweeper.analysis.answer import Answer
from sweeper.analysis.frames import Frames
from sweeper.report.drawing import Figure
from sweeper.report.page import commands
from sweeper.report.svg import svg


def card(frames: Frames, found: Answer, curve: Figure | None) -> str:
    """The HTML of one sweep; `curve` is its response curve, where there is one."""
    return f'<div style="max-width: 640px">{"".join(_parts(frames, found, curve))}</div>'


def _parts(frames: Frames, found: Answer, curve: Figure | None) -> Iterator[str]:
    sweep, lead = frames.sweep, words.lead(found)
    yield f"<p><b>{escape(sweep.question or sweep.name)}</b></p>"
    yield f"<p>{commands(' '.join((lead.headline, *lead.more)))}</p>"
    if lead.basis:
        yield _small(lead.basis)
    if curve is not None:
        yield svg(curve)
    if partial := words.progress(frames):
        yield _small(f"So far: {partial}.")
    for caveat in words.caveats(frames, found=found):
        yield _small(caveat)


def _small(text: str) -> str:
    return f"<p><small>{commands(text)}</small></p>"

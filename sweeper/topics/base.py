"""What a topic of the report is.

A topic is a folder: `estimate.py` computes (`build(view)`), `text.py` puts it in words, and
`section.py` draws it and ends with the topic itself. `registry.TOPICS` has a line for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import Section

Rows = pd.DataFrame | list[dict[str, Any]]


@dataclass(frozen=True)
class Topic:
    """One topic of the report.

    Attributes:
        section: its part of the page; None where there is nothing to show.
        open: whether its part is read at once; the other parts are folded to their findings.
        early: whether it is also shown before an unfinished sweep has blocks to compare.
        short: its name in the list of contents, where the title is too long.
        methods: the sentences that it adds to the methods paragraph.
        tables: name of an exported table -> what is built for it, and its rows.
    """

    section: Callable[[SweepView], Section | None]
    short: str = ""
    open: bool = False
    early: bool = False
    methods: Callable[[SweepView], Iterator[str]] = lambda view: iter(())
    tables: Mapping[str, tuple[Callable[[SweepView], Any], Callable[[Any], Rows]]] = field(
        default_factory=dict
    )

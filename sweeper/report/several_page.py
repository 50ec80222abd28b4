"""Several sweeps of one database on one page: do they agree, and what holds over data sets.

It is made like the page of one sweep: from the block of data that it carries, and from the same
sections, figures, scripts and style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sweeper import __version__
from sweeper.analysis.factors import show
from sweeper.analysis.frames import Frames, Reads, load
from sweeper.drawing.figure import Figure, Section
from sweeper.drawing.redact import scrub_spec
from sweeper.drawing.table import Table, seconds
from sweeper.report import archive as carry
from sweeper.report import page
from sweeper.report.glossary import OF_ONE, OF_SEVERAL
from sweeper.report.manifest import FORMAT, manifest, provenance
from sweeper.report.methods import methods
from sweeper.report.overrides import overrides
from sweeper.report.references import bibtex
from sweeper.states import RunState
from sweeper.topics.across import section as across
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.response import estimate as response
from sweeper.topics.response import section as response_section
from sweeper.topics.several import estimate as several
from sweeper.topics.several import text as wording
from sweeper.topics.several.estimate import Claimed, OneSweep, Several
from sweeper.topics.subset_variance import section as draws

FOLDED = {draws.ID, "sweeps"}
OUT = "several-sweeps.html"


def write(
    store: Reads, names: Sequence[str], *, out: Path = Path(OUT), force: bool = False
) -> Path:
    """Write one report of these sweeps to `out`.

    Raises:
        InputError: as of `page.write`; or a sweep is named twice, or they have no objective or no
            factor in common.
        StoreError: there is no such sweep.
    """
    several.unique(names)
    page.check_target(out, force=force)
    frames = [load(store, name) for name in names]
    several.check(frames)
    return page.save(html(frames), out=out)


def html(frames: Sequence[Frames]) -> str:
    """The page as text."""
    return remake(carry.dump_all([carry.dump(carry.clean(one)) for one in frames]))


def remake(block: bytes) -> str:
    """The page that carries these data.

    Raises:
        CarryError: the block cannot be read.
        InputError: its sweeps cannot be compared.
    """
    blocks = carry.split(block)
    frames = [carry.read(one) for one in blocks]
    several.check(frames)
    found = several.build(frames)
    parts = list(_sections(found))
    about = _manifest(frames, block=block, blocks=blocks)
    said, each = _said(found), [_each(*pair) for pair in zip(found.members, blocks, strict=True)]
    told = [*said["methods"], *(one for of in each for one in of["methods"])]
    return page.render(
        "several.html",
        block=block,
        about=about,
        parts=parts,
        opened={one.id for one in parts} - FOLDED,
        names=[one.name for one in found.members],
        **said,
        each=each,
        bibtex=bibtex(" ".join(told)),
        data_facts=f"{len(block) / 1000:.0f} kB, sha256 {about['data']['sha256']}",
        made_by=f"Sweeper {__version__}",
        glossary=OF_SEVERAL + OF_ONE,
    )


def _manifest(frames: Sequence[Frames], *, block: bytes, blocks: Sequence[bytes]) -> dict[str, Any]:
    return {
        "manifest": FORMAT,
        "sweeper": __version__,
        "data": {"sha256": hashlib.sha256(block).hexdigest(), "bytes": len(block)},
        "sweeps": [manifest(one, held) for one, held in zip(frames, blocks, strict=True)],
    }


def _said(found: Several) -> dict[str, Any]:
    asked = dict.fromkeys(one.frames.sweep.question or one.name for one in found.members)
    main = found.shared[0]
    return {
        "question": next(iter(asked))
        if len(asked) == 1
        else (f"What do {len(found.members)} sweeps say of {main.name}?"),
        "questions": list(asked) if len(asked) > 1 else [],
        "headline": wording.headline(found),
        "more": wording.more(found),
        "main": main,
        "verdicts": [_verdict(one) for one in main.rows],
        "levels": any(one.level is not None for one in main.rows),
        "scaled": [SimpleNamespace(estimate=one.cost) for one in main.rows],
        "caption": _caption(found),
        "unit": found.measure.unit,
        "caveats": [(one.name, caveat) for one in found.members for caveat in caveats(one.view)],
        "partial": [
            (one.name, told) for one in found.members if (told := words.progress(one.frames))
        ],
        "short": {"response": "Response", "sweeps": "Sweeps"}
        | {
            f"factor-{at}": one.name[0].upper() + one.name[1:]
            for at, one in enumerate(found.shared)
        },
        "methods": [wording.method(found)],
    }


def _caption(found: Several) -> str:
    """What the numbers of the first table are."""
    unit = f", in {found.measure.unit}" if found.measure.unit else ""
    return (
        f"The levels of {found.shared[0].name}, sweep by sweep: change in {found.measure.title} "
        f"against the best level of the sweep{unit}"
    )


def _verdict(row: Claimed) -> dict[str, Any]:
    one = row.level
    tone = ""
    if one is not None and row.found is not None and not row.found.withheld and row.cost.known:
        tone = "worse" if one.beaten else "" if one.open else "better"
    return {
        "member": row.member,
        "row": row,
        "estimate": row.cost,
        "against": show(one.value) if one is not None else "",
        "badge": wording.badge(row),
        "tone": tone,
        "claim": row.claim,
    }


def _each(one: OneSweep, block: bytes) -> dict[str, Any]:
    """Where a sweep comes from and how it was made."""
    about = {"bytes": len(block), "sha256": hashlib.sha256(block).hexdigest()}
    return {
        "name": one.name,
        "methods": methods(one.view),
        "provenance": provenance(one.frames, about),
        "overrides": overrides(one.frames.sweep),
        "spec": scrub_spec(one.frames.sweep.spec_text),
    }


def _sections(found: Several) -> Iterator[Section]:
    panels = tuple(_responses(found))
    if panels:
        missing = [one.name for one in found.members if not len(one.view.of(response.build).curve)]
        without = f" No curve can be drawn of {', '.join(missing)}." if missing else ""
        intro = (
            f"{found.measure.title[0].upper()}{found.measure.title[1:]} on the test split, one "
            "panel a sweep, all with one vertical range. Filled marks are means over replicates, "
            "bars their 95 % t intervals (each on its own, test set fixed), open marks single "
            f"replicates.{without}"
        )
        yield Section(
            "response",
            "Response, sweep by sweep",
            intro,
            panels,
            (("The numbers", _means(found)),),
            "panels two",
        )
    for at, shared in enumerate(found.shared):
        part = across.section(found, shared, at=at)
        if part is not None:
            yield part
    drawn = draws.section(found)
    if drawn is not None:
        yield drawn
    yield Section(
        "sweeps",
        "The sweeps",
        "Each has a report of its own: sweeper report NAME.",
        tables=(("", _table_of_sweeps(found)),),
        finding=f"{len(found.members)} sweeps: data, budget, runs and time.",
    )


def _responses(found: Several) -> Iterator[Figure]:
    drawn = [
        one
        for one in found.members
        if one.view.x is not None and len(one.view.of(response.build).curve)
    ]
    ends = [span for one in drawn if (span := response_section.objective_range(one.view))]
    span = [min(one[0] for one in ends), max(one[1] for one in ends)] if ends else None
    order: dict[Any, None] = {}
    for one in drawn:
        order |= dict.fromkeys(one.view.by.levels if one.view.by else (None,))
    for at, one in enumerate(drawn):
        panel = response_section.objective_panel(one.view, order=list(order), shared=span)
        n = panel.title.removeprefix(found.measure.title).strip()
        title = f"{found.measure.title}, {one.name}, {one.budget} {n}"
        yield replace(
            panel,
            id=f"response-{at}",
            title=title,
            alt=f"{one.name}, {one.data}, {one.budget}: {panel.alt}",
        )


def _means(found: Several) -> Table:
    """Every point of every curve."""
    rows = []
    for one in found.members:
        if not len(one.view.of(response.build).curve):
            continue
        here = one.view.of(response.build).curve[
            one.view.of(response.build).curve["measure"] == found.measure.name
        ]
        lines = one.view.by.name if one.view.by else ""
        axis = one.view.x.name if one.view.x else ""
        for _, row in here.iterrows():
            line = f"{lines} {show(row['by'])}" if lines else "all"
            ends = [page.number(row[end], unit=found.measure.unit) for end in ("low", "high")]
            rows.append(
                (
                    one.name,
                    line,
                    f"{axis} {show(row['x'])}",
                    str(row["n"]),
                    page.number(row["mean"], unit=found.measure.unit),
                    "n/a" if "n/a" in ends else " to ".join(ends),
                )
            )
    head = ("sweep", "line", "level", "n", "mean", "95 % interval")
    return Table(f"Means of {found.measure.title}", head, tuple(rows), frozenset({3, 4, 5}))


def _table_of_sweeps(found: Several) -> Table:
    rows = []
    for one in found.members:
        runs = one.frames.reported_runs
        ended = {state: int((runs["state"] == state).sum()) for state in RunState}
        lost = ended[RunState.FAILED] + ended[RunState.PRUNED]
        rows.append(
            (
                one.name,
                one.frames.sweep.question,
                one.data,
                str(one.task + 1),
                one.budget,
                str(one.frames.sweep.state),
                str(len(one.frames.reported)),
                str(runs["replicate"].nunique()),
                f"{ended[RunState.COMPLETE]} of {len(runs)}",
                str(lost),
                seconds(page.worker_seconds(one.frames)),
            )
        )
    head = (
        "sweep",
        "question",
        "data",
        "data set no.",
        "budget",
        "state",
        "cells",
        "replicates",
        "complete",
        "failed or pruned",
        "worker time",
    )
    return Table(
        "What was run",
        head,
        tuple(rows),
        frozenset(range(6, len(head))),
        "Sweeps of one data set, by its fingerprint, have one number.",
    )

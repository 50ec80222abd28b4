"""Prints records as tables for people and as JSON for scripts."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sweeper.live import duration
from sweeper.spec import ADAPTIVE
from sweeper.spec.factors import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sweeper.cli.doctor import CheckResult
    from sweeper.engine.detectable import Detectable
    from sweeper.engine.inspection import NodeFindings
    from sweeper.engine.preview import Kind, Preview
    from sweeper.predict import Predicted
    from sweeper.report.difference import Change
    from trainers.cache import CacheEntry

# of every --json output; rises when a key changes its meaning or is removed
SCHEMA_VERSION = 1
KINDS_SHOWN = 12
MARKS = {"ok": "green", "note": "yellow", "wrong": "red"}


def as_json(kind: str, body: Mapping[str, Any]) -> str:
    """Returns a JSON document: its schema's version, its kind, and the body."""
    document = {"version": SCHEMA_VERSION, "kind": kind, **body}
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def grid(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a plain table; text is shown as it is, without markup."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def status_row(status: Mapping[str, Any]) -> list[str]:
    """A sweep's status as a row of a table."""
    runs, awaited = status["runs"], status["awaited"]
    return [
        status["name"],
        status["state"],
        str(sum(status["cells"].values())),
        f"{runs['complete']} of {sum(runs.values()) + awaited}",
        str(runs["running"]),
        str(runs["pruned"]),
        str(runs["failed"]),
        str(runs["pending"] + awaited),
    ]


def status_remarks(status: Mapping[str, Any]) -> Iterator[str]:
    """Lines below the table: the reason, the driver, and decisions."""
    holder = status["holder"]
    if status["reason"]:
        yield status["reason"]
    if holder and not holder.get("expired"):
        beat = f", last beat {duration(holder['age'])} ago" if "age" in holder else ""
        yield f"driven by {holder.get('host', '?')} pid {holder.get('pid', '?')}{beat}"
    if status["failures"]:
        yield "failed: " + ", ".join(f"{n} {reason}" for reason, n in status["failures"].items())
    if status["decided"]:
        yield status["decided"]
    if status.get("untold"):
        yield status["untold"]
    if status.get("answer"):
        yield status["answer"]
    elif status.get("best"):
        yield f"best so far: {status['best']}; no verdict before the runs are complete"
    if status.get("seconds_left") is not None:
        low, high = duration(status["seconds_left_low"]), duration(status["seconds_left_high"])
        yield f"time left: about {duration(status['seconds_left'])} ({low} to {high})"


def recalls(console: Console, found: Predicted) -> None:
    """Prints the recall of each class, and their mean; classes unknown to the model last."""
    rows = [
        [
            entry.name,
            str(entry.samples),
            "n/a" if entry.recall is None else f"{entry.recall:.4f}",
        ]
        for entry in found.recalls or ()
    ]
    rows += [[name, str(count), "unknown to the model"] for name, count in found.unknown.items()]
    rows += [["(no class)", str(found.unnamed), ""]] if found.unnamed else []
    grid(console, ["class", "samples", "recall"], rows)
    mean = found.balanced_accuracy
    shown = "n/a" if mean is None else f"{mean:.4f}"
    console.print(
        f"balanced accuracy {shown}; valid for new data if the model has not seen these rows",
        highlight=False,
        soft_wrap=True,
    )


def strange(console: Console, found: Predicted) -> None:
    """Prints the columns with values that the model has no levels for, the worst first."""
    worst = sorted(found.strange.items(), key=lambda column: -column[1])
    some = [f"{name!r} ({count:,} of {found.samples:,} rows)" for name, count in worst[:5]]
    more = f" and {len(worst) - 5} more columns" if len(worst) > 5 else ""
    if worst:
        text = "treated as missing, because the training data do not have them: values in "
        text += f"{', '.join(some)}{more}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def changes(console: Console, left: str, right: str, found: Sequence[Change]) -> None:
    """Prints differences as diff does, a key at a time."""
    from sweeper.report.difference import shown

    lines = [f"--- {left}", f"+++ {right}"]
    for change in found:
        lines += [change.key, f"  - {shown(change.left)}", f"  + {shown(change.right)}"]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


STATUS_HEADER = ["sweep", "state", "cells", "done", "running", "pruned", "failed", "left"]


def statuses(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Prints a line for each sweep's state, and remarks below."""
    grid(console, STATUS_HEADER, map(status_row, found))
    for status in found:
        for remark in status_remarks(status):
            console.print(Text(f"{status['name']}: {remark}"), soft_wrap=True)


def findings(console: Console, found: Sequence[CheckResult]) -> None:
    """Prints the findings of `doctor`."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in found:
        mark = Text(finding.state, style=MARKS[finding.state])
        table.add_row(mark, Text(finding.what), Text(finding.text))
    console.print(table)


def nodes(console: Console, found: Sequence[NodeFindings]) -> None:
    """Prints a row for each node of a cluster, then a line for each problem of a node."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("", "node", "cpus", "gpus", "data", "checkpoints", "clock", "reach"):
        table.add_column(name, overflow="fold")
    for node in found:
        cells = [
            node.name,
            f"{node.cpus:g}",
            f"{node.gpus:g}",
            node.data,
            node.checkpoints,
            "" if node.clock is None else f"{node.clock:+.2f} s",
            "" if node.reach is None else f"{1000 * node.reach:.1f} ms",
        ]
        table.add_row(Text(node.state, style=MARKS[node.state]), *map(Text, cells))
    console.print(table)
    for node in found:
        for line in (*node.cards, *node.wrong, *node.notes):
            console.print(Text(f"{node.name}: {line}"), soft_wrap=True)


def cache(root: Path, found: Sequence[CacheEntry], *, removed: bool) -> dict[str, Any]:
    """The cache's files and bytes, by kind."""
    full = [entry for entry in found if entry.size_bytes]  # locks are empty
    kinds = {
        entry.kind: [item.size_bytes for item in full if item.kind == entry.kind] for entry in full
    }
    held = [{"kind": kind, "files": len(own), "bytes": sum(own)} for kind, own in kinds.items()]
    return {"folder": str(root), "removed": removed, "held": held}


def cached(console: Console, root: Path, found: Sequence[CacheEntry]) -> None:
    """Prints the result of `cache`."""
    rows = [
        [item["kind"], f"{item['files']:,}", f"{item['bytes'] / 2**20:,.1f} MiB"]
        for item in cache(root, found, removed=False)["held"]
    ]
    console.print(Text(str(root)), soft_wrap=True)
    grid(console, ["what", "files", "size"], rows or [["nothing", "0", "0.0 MiB"]])


def space(name: str, path: Path) -> dict[str, Any]:
    """A shipped space: its question and its cost in cells and runs."""
    from sweeper.design import candidates, count, designs
    from sweeper.spec import load

    spec = load(path)
    cells = count(spec)
    tried = 0
    if spec.nuisance and spec.search.method not in ADAPTIVE:
        tried = sum(len(candidates(spec, design)) for design in designs(spec))
    return {
        "name": name,
        "question": spec.question,
        "factors": [*spec.scientific],
        "tuned": [*spec.nuisance],
        "search": spec.search.method,
        "cells": cells,
        "tuning_cells": tried,
        "runs": cells * spec.replicates + tried * spec.tuning_replicates,
    }


def spaces(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Prints the shipped spaces, a paragraph each."""
    for space in found:
        tuned = f"; {', '.join(space['tuned'])} tuned" if space["tuned"] else ""
        cost = f"{space['cells']} cells, {space['runs']} runs"
        factors = f"{space['search']} over {', '.join(space['factors'])}{tuned}"
        console.print(Text(space["name"], style="bold"), Text(f"({cost})"))
        for line in (space["question"], factors):
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def plan(console: Console, name: str, found: Preview) -> None:
    """Prints the plan of a sweep, and its cost."""
    tuning = f" and {found.tuning_cells} that tune" if found.tuning_cells else ""
    console.print(
        f"{name}: {found.cells} cells{tuning}, {found.runs} runs in {found.packs} packs",
        markup=False,
        highlight=False,
    )
    header = ["cells", "runs", "packs", "gain", "time", "cells with"]
    kinds = sorted(found.kinds, key=lambda kind: -kind.seconds)
    grid(console, header, (_kind(kind) for kind in kinds[:KINDS_SHOWN]))
    rest = kinds[KINDS_SHOWN:]
    if rest:
        took = duration(sum(kind.seconds for kind in rest))
        console.print(f"and {len(rest)} cheaper kinds of cells, {took} together", highlight=False)
    console.print(_time(found), highlight=False)
    if found.evaluating is not None:
        console.print(
            f"evaluation at {found.evaluations} points of each run takes "
            f"{100 * found.evaluating:.0f} % of it (train.evaluations)",
            highlight=False,
        )
    if found.more_runs:
        least = f"{found.least_more} to" if found.least_more else "up to"
        console.print(
            f"and {least} {found.more_runs} more runs by the plan, at most about "
            f"{duration(found.more_seconds)}",
            highlight=False,
        )
    if found.screened_at is not None:
        console.print(
            f"screening drops a cell that another leads by {found.screened_at:.1f} sd of the "
            "differences",
            highlight=False,
        )


def _time(found: Preview) -> str:
    """The time that the sweep takes, if its runs could be timed."""
    if not found.seconds:
        return f"the time on {found.workers} workers is not known: nothing was timed"
    return (
        f"about {duration(found.seconds)} on {found.workers} workers "
        f"({duration(found.low)} to {duration(found.high)})"
    )


def detectable(console: Console, found: Sequence[Detectable]) -> None:
    """Prints the smallest effect of each factor that the planned replicates find."""
    for effect in found:
        for line in _detectable(effect):
            console.print(line, markup=False, highlight=False)


def _detectable(effect: Detectable) -> Iterator[str]:
    size = f"d = {effect.d:.1f} sd of the differences" if effect.d is not None else ""
    if effect.effect is not None:
        size = f"{effect.effect:.2g} {effect.unit}".strip()
    name = short(effect.factor, ())
    times = "at most " if effect.at_most else ""
    over = f", simultaneous over {effect.family} differences" if effect.family > 1 else ""
    yield f"smallest effect of {name} found 4 times in 5: {size}"
    yield f"  {times}{effect.replicates} replicates, 5 % two-sided{over}"
    if effect.sd is not None:
        sd = f"{effect.sd:.2g} {effect.unit}".strip()
        yield f"  sd of paired differences {sd}, from {effect.pilot} replicates so far"


def _kind(kind: Kind) -> list[str]:
    # Without blanks, so that a line is only broken between two of them.
    levels = ", ".join(f"{short(name, kind.levels)}={level}" for name, level in kind.levels.items())
    return [
        str(kind.cells),
        str(kind.runs),
        str(kind.packs),
        f"{kind.gain:.1f} x" if kind.gain is not None else "",
        duration(kind.seconds),
        levels,
    ]

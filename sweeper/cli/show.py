"""Tables for people and JSON for scripts, of the same records."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeper.states import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweeper.cli.doctor import Finding
    from sweeper.store.records import Sweep
    from sweeper.store.store import Store

# Of every --json output; it grows when a key changes its meaning or goes.
SCHEMA_VERSION = 1
MARKS = {"ok": "green", "note": "yellow", "wrong": "red"}


def as_json(kind: str, body: Mapping[str, Any]) -> str:
    """One JSON document: its schema's version, what it is of, and the body."""
    document = {"version": SCHEMA_VERSION, "kind": kind, **body}
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def grid(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a plain table; text is shown as it is, whatever it contains."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def sweep_status(store: Store, sweep: Sweep) -> dict[str, Any]:
    """A sweep's status: what `status --json` prints of it."""
    cells = [cell for cell in store.cells(sweep.id) if not cell.hidden]
    shown = {cell.id for cell in cells}
    runs = [run for run in store.runs(sweep.id) if run.cell_id in shown]
    states = Counter(run.state for run in runs)
    endings = Counter(str(run.ending) for run in runs if run.state is RunState.FAILED)
    return {
        "name": sweep.name,
        "question": sweep.question,
        "state": sweep.state,
        "reason": sweep.state_reason,
        "holder": sweep.holder,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
        "cells": dict(sorted(Counter(cell.role for cell in cells).items())),
        "runs": {str(state): states.get(state, 0) for state in RunState},
        "failures": dict(sorted(endings.items())),
    }


def status_row(status: Mapping[str, Any]) -> list[str]:
    """A sweep's status as one line of a table."""
    runs = status["runs"]
    holder = status["holder"]
    state = status["state"] + (f": {status['reason']}" if status["reason"] else "")
    by = ""
    if holder and not holder.get("expired"):
        by = f"{holder.get('host', '?')} pid {holder.get('pid', '?')}"
    failed = "".join(f" ({n} {reason})" for reason, n in status["failures"].items())
    return [
        status["name"],
        state,
        str(sum(status["cells"].values())),
        f"{runs['complete']} of {sum(runs.values())}",
        str(runs["running"]),
        str(runs["pruned"]),
        f"{runs['failed']}{failed}",
        str(runs["pending"]),
        by,
    ]


STATUS_HEADER = ["sweep", "state", "cells", "done", "running", "pruned", "failed", "left", "driver"]


def findings(console: Console, found: Sequence[Finding]) -> None:
    """Print what `doctor` found."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in found:
        mark = Text(finding.state, style=MARKS[finding.state])
        table.add_row(mark, Text(finding.what), Text(finding.text))
    console.print(table)

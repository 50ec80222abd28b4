"""The command that lets failed runs run again: in a database, or in a service."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from sweeper import lookup
from sweeper.cli import completion, inputs
from sweeper.cli.options import FromService, Storage, SweepArgument, opened
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

RETRY = "Example: sweeper retry batch-size-digits --reason out_of_memory"


def retry(
    sweep: SweepArgument = None,
    storage: Storage = DEFAULT_STORAGE,
    reasons: Annotated[
        list[str] | None,
        typer.Option(
            "--reason",
            metavar="REASON",
            help="Only runs that ended so; repeatable.",
            autocompletion=completion.reasons,
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="Only runs that failed in the last so many hours."),
    ] = None,
    service: FromService = None,
) -> None:
    """Let the next launch try failed runs again, or a service try them at once."""
    from sweeper.states import FAILURES

    for reason in reasons or ():
        inputs.one_of("--reason", reason, FAILURES)
    if hours is not None and not 0 < hours < math.inf:
        raise InputError(f"--hours {hours:g}: a number of hours above 0 is needed, such as 2")
    if service is None:
        count = _retried(sweep, storage, reasons or [], hours)
        print(f"{count} runs will be tried again by the next launch")
        return
    if sweep is None:
        raise InputError("SWEEP: name the sweep of the service")
    from sweeper.service.client import connect

    found = connect(None if service == "last" else service)
    found.retry(sweep, reasons=reasons or (), hours=hours)
    print(f"{sweep}: retry is asked for")


def _retried(name: str | None, storage: str, reasons: list[str], hours: float | None) -> int:
    from sweeper.states import Ending
    from sweeper.store.lease import here

    with opened(storage) as store:
        found = lookup.find_sweep(store, name)
        if read := found.provenance.get("imported"):
            raise InputError(
                f"sweep '{found.name}' was imported from {read.get('file')}: its runs were made "
                "elsewhere, and nothing can be tried again"
            )
        lease = store.acquire(found.id, here())
        try:
            endings = [Ending(reason) for reason in reasons] or None
            return store.retry_failed(lease, endings, hours=hours)
        finally:
            store.release(lease)

"""The commands that keep results: a file with everything about a sweep, and a restored backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper import lookup
from sweeper.cli import logs
from sweeper.cli.options import Force, FromService, Storage, SweepArgument, opened
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

ARCHIVE = "Example: sweeper archive batch-size-digits --out batch-size.sweep.zip"
SUFFIX = ".sweep.zip"
RESTORED = "Example: sweeper restored --storage sqlite:///sweeps.db"


def archive(
    sweep: SweepArgument = None,
    storage: Storage = DEFAULT_STORAGE,
    out: Annotated[Path | None, typer.Option(help="The file to write [SWEEP.sweep.zip].")] = None,
    service: FromService = None,
    force: Force = False,
) -> None:
    """Write everything about a sweep into one file, and print its path.

    It has the rows, the spec, the report, an Optuna journal and the events. `sweeper import` reads
    it into another database.
    """
    if service is not None:
        from sweeper.cli import remote

        remote.archive(sweep, service, out=out, force=force)
        return
    from sweeper import files
    from sweeper.importing import whole

    with opened(storage) as store:
        name = lookup.find_sweep(store, sweep).name
        path = out or Path(f"{name}{SUFFIX}")
        check_target(path, force=force)
        with files.replacing(path) as temporary, temporary.open("xb") as file:
            whole.write(store, name, file)
    print(path)


def check_target(path: Path, *, force: bool) -> None:
    """Whether an archive may be written there.

    Raises:
        InputError: it may not.
    """
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist")
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"--out {path}: exists; --force replaces a file")


def restored(
    storage: Storage = DEFAULT_STORAGE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Say that a database was restored from a backup, before anything uses it.

    All numbers of leases rise, so that drivers and supervisors that wrote to the later database
    cannot write to this one.
    """
    import sys

    from sweeper.store.restored import raise_leases
    from sweeper.store.store import Store

    lookup.check_storage(storage)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("restored: what runs on this database is stopped; agree with --yes")
        typer.confirm("Every driver of this database stops. Go on?", abort=True, err=True)
    with opened(storage):
        pass  # it is there
    with Store.open(storage, create=True) as store:  # its schema may be an old one
        found = raise_leases(store.database, who="sweeper restored")
    print(f"the leases of {found.sweeps} sweeps were raised; sweeper launch continues them")
    if found.tokens:
        logs.say(
            f"{found.tokens} tokens and links are valid as of the backup: revoke again what was "
            "revoked since (sweeper token)"
        )

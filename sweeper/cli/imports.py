"""`sweeper import`: runs that others made, as a sweep that is reported like any other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper import lookup
from sweeper.cli import inputs, logs
from sweeper.cli.options import Storage
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from sweeper.importing.columns import Columns
    from sweeper.importing.rows import Rules
    from sweeper.importing.sweep import Wanted
    from sweeper.store.finished import Finished

IMPORT = "Example: sweeper import runs.csv --factor batch_size --replicate seed --metric accuracy"

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A table, a folder of runs, a study, a report or an archive.",
    ),
]
Named = Annotated[
    list[str] | None,
    typer.Option("--factor", metavar="[NAME=]COLUMN", help="What the runs vary; repeatable."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="[NAME=]COLUMN", help="What was measured, the objective first."
    ),
]
Run = Annotated[str, typer.Option("--run", metavar="COLUMN", help="Which run a row is about.")]
Epoch = Annotated[
    str,
    typer.Option("--epoch", metavar="COLUMN", help="The epoch, where each has a row."),
]
Replicate = Annotated[
    str,
    typer.Option("--replicate", metavar="COLUMN", help="What runs of several cells share: a seed."),
]
State = Annotated[
    str,
    typer.Option(
        "--state", metavar="COLUMN", help="How a run ended: a word, or true where it diverged."
    ),
]
Seconds = Annotated[
    str, typer.Option("--seconds", metavar="COLUMN", help="How long a run took, in seconds.")
]
Direction = Annotated[
    str,
    typer.Option(
        metavar="WORD", help="maximize or minimize, where the metric's name does not say."
    ),
]
Search = Annotated[
    str,
    typer.Option(
        metavar="WORD", help="How settings that form no grid were chosen: random, qmc, tpe ..."
    ),
]
Short = Annotated[
    str,
    typer.Option(metavar="WORD", help="Runs that end before the others: refuse, or pruned."),
]
Study = Annotated[str, typer.Option(metavar="NAME", help="Which study of an Optuna storage.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether the roles are right.")]


def import_runs(
    source: SourceArgument,
    storage: Storage = DEFAULT_STORAGE,
    name: Annotated[str, typer.Option(help="The name of the sweep; by default the source's.")] = "",
    question: Annotated[str, typer.Option(help="The question, for the report's title.")] = "",
    factors: Named = None,
    metrics: Metrics = None,
    replicate: Replicate = "",
    run: Run = "",
    epoch: Epoch = "",
    state: State = "",
    seconds: Seconds = "",
    direction: Direction = "",
    search: Search = "",
    short: Short = "refuse",
    study: Study = "",
    yes: Yes = False,
) -> None:
    """Read finished runs that others made into a sweep, to report them like any other.

    The roles of the columns are guessed where they are not given, and shown before anything is
    stored. Nothing is trained, and nothing can be launched.
    """
    from sweeper.importing.columns import Columns
    from sweeper.importing.rows import Rules
    from sweeper.importing.sweep import DRAWN, Wanted
    from sweeper.spec.models import NAME_RULE, is_name

    lookup.check_storage(storage)
    words = {"--direction": (direction, ("maximize", "minimize")), "--search": (search, DRAWN)}
    for option, (word, valid) in words.items():
        if word:
            inputs.one_of(option, word, valid)
    given = Columns(
        factors=_named("--factor", factors),
        metrics=_named("--metric", metrics),
        run=run,
        epoch=epoch,
        replicate=replicate,
        state=state,
        seconds=seconds,
    )
    if name and not is_name(name):
        raise InputError(f"--name: {name!r} {NAME_RULE}")
    inputs.one_of("--short", short, ("refuse", "pruned"))
    rules = Rules(pruned=short == "pruned")
    from sweeper.importing import read, whole

    if whole.is_archive(Path(source)):
        _import_archive(Path(source), storage, given=given, name=name)
        return
    if read.is_report(source):
        _import_report(source, storage, given=given, name=name, yes=yes)
        return
    wanted = Wanted(name, question, direction, search)
    _import(source, storage, given=given, rules=rules, wanted=wanted, study=study, yes=yes)


def _named(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """The columns by name, of `COLUMN` or `NAME=COLUMN`."""
    from sweeper.importing.columns import plain

    found: dict[str, str] = {}
    for word in words or ():
        name, equals, column = word.partition("=")
        key, column = (name, column) if equals else (plain(word), word)
        if not key or not column:
            raise InputError(f"{option}: {word!r} must be COLUMN, or NAME=COLUMN")
        if key in found:
            raise InputError(f"{option}: {key} is named twice")
        found[key] = column
    return found


def _import(
    what: str, storage: str, *, given: Columns, rules: Rules, wanted: Wanted, study: str, yes: bool
) -> None:
    from sweeper.importing import read, shown, sweep
    from sweeper.importing.columns import guess
    from sweeper.importing.runs import read as runs_of

    objective = next(iter(given.metrics.values()), "")
    source = read.source_of(what, study=study, objective=objective)
    columns = guess(source.frame, given.over(source.known)).apart()
    runs = runs_of(source, columns, rules)
    spec = sweep.spec_of(source, columns, runs, wanted)
    for line in shown.lines(source, columns, runs, spec):
        logs.say(line)
    _keep([sweep.finished(source, columns, runs, spec)], storage, yes=yes)


def _import_report(what: str, storage: str, *, given: Columns, name: str, yes: bool) -> None:
    from sweeper.importing import archive

    for option, _ in given.named():
        raise InputError(f"{option} is for tables, and {what} is a report: it has its own roles")
    sweeps = archive.read(Path(what))
    if name and len(sweeps) > 1:
        raise InputError(f"--name is for one sweep, and {what} has {len(sweeps)}")
    sweeps = [archive.renamed(one, name) for one in sweeps] if name else sweeps
    for one in sweeps:
        logs.say(f"sweep '{one.sweep.name}': {len(one.cells)} cells, {len(one.runs)} runs")
    _keep(sweeps, storage, yes=yes)


def _import_archive(path: Path, storage: str, *, given: Columns, name: str) -> None:
    """Adds an archive's sweep as it was; there is nothing to agree to."""
    from sweeper.importing import whole
    from sweeper.store.store import Store

    for option, _ in given.named():
        raise InputError(f"{option} is for tables, and {path} is an archive: it has its own roles")
    archive = whole.read(path)
    logs.say(f"sweep '{archive.name}': {archive.count('cell')} cells, {archive.count('run')} runs")
    with Store.open(storage, create=True) as store:
        sweep = whole.keep(store, archive, name=name)
    print(sweep.name)
    for line in inputs.next_commands(sweep.name, storage):
        logs.say(line)


def _keep(sweeps: Sequence[Finished], storage: str, *, yes: bool) -> None:
    """Stores the sweeps if the user agrees, and says what comes next.

    Raises:
        InputError: the user does not agree, or cannot be asked.
    """
    from sweeper.importing import sweep
    from sweeper.store.store import Store

    if not yes and not sys.stdin.isatty():
        raise InputError("import: the roles above are not confirmed; --yes agrees to them")
    if not yes and not typer.confirm("Import these runs?", err=True):
        raise InputError("nothing was imported: the answer was no")
    with Store.open(storage, create=True) as store:
        for one in sweeps:
            sweep.check_name(store, one.sweep.name)
        for one in sweeps:
            print(sweep.keep(store, storage, one).name)
    for one in sweeps:
        for line in inputs.next_commands(one.sweep.name, storage):
            logs.say(line)

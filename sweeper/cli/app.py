"""The commands of `sweeper`. Heavy modules are imported inside them, so --help stays fast."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper import __version__, lookup
from sweeper.cli import (
    completion,
    imports,
    inputs,
    keeping,
    logs,
    machine,
    models,
    remote,
    retrying,
    serving,
    settings,
    several,
    watching,
)
from sweeper.cli.options import (
    AsJson,
    Force,
    FromService,
    LogFile,
    LogFormat,
    OpenRay,
    Overrides,
    Plugins,
    RayAddress,
    SpecArgument,
    Storage,
    SweepArgument,
    SweepArguments,
    Verbose,
    general_first,
    opened,
)
from sweeper.errors import InputError, SweeperError
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from rich.console import Console

    from sweeper.spec import Spec
    from sweeper.store.store import Store

INTERRUPTED = 130
HELP = frozenset({"-h", "--help", "--version"})

app = typer.Typer(
    name="sweeper",
    help="Hyperparameter sensitivity under class imbalance: one spec file in, a report out.",
    epilog="Start with: sweeper spaces, then sweeper launch batch_size",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command line and exits with its exit code."""
    code = run(sys.argv[1:])
    from sweeper.cli import streams

    sys.exit(streams.finished(code))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code. Every error is caught here, and only here."""
    asks = completion.VARIABLE in os.environ or not HELP.isdisjoint(arguments)
    with logs.ending():
        try:
            with settings.in_force(broken=asks) as values:
                code = _run(arguments, values)
        except SweeperError as error:
            code = _refused(error)
        if code not in (0, INTERRUPTED) and (log := logs.file()):
            logs.say(f"log:       {log}")
        return code


def _run(arguments: list[str], values: list[settings.Value]) -> int:
    try:
        words = general_first(arguments)
        return app(args=words, prog_name="sweeper", standalone_mode=False, obj=values) or 0
    except SweeperError as error:
        return _refused(error)
    except typer.TyperException as error:
        if message := error.format_message():
            logs.complain(f"{message} (sweeper --help lists what there is)")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        logs.complain("interrupted")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of the output is gone
        return 0
    except Exception as error:
        if isinstance(error, OSError) and (code := _unwritten()):
            return code
        logs.traceback()
        if settings.switched_on("debug", values):
            raise
        logs.complain(f"internal error: {type(error).__name__}: {error}")
        logs.complain("this is a bug in Sweeper; SWEEPER_DEBUG=1 shows the traceback")
        return 1


def _refused(error: SweeperError) -> int:
    for line in error.lines:
        logs.complain(line)
    return error.exit_code


def _unwritten() -> int:
    """Returns the exit code if output cannot be written, and reports it; otherwise 0."""
    from sweeper.cli import streams

    return streams.finished(0)


def _out() -> Console:
    from rich.console import Console

    return Console()


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
    log_format: LogFormat = "text",
) -> None:
    logs.begin(verbose=verbose, file=log_file, form=log_format)
    logs.opening(sys.argv[1:], settings.chosen(context.obj))
    for remark in inputs.unknown_variables(os.environ):
        logs.complain(f"warning: {remark}")
    for value in context.obj:
        if value.source == "project file" and inputs.password_in([value.text]):
            logs.complain(
                f"warning: {value.place}: a password; a project's file is shared with others"
            )
    if inputs.password_in(sys.argv[1:]):
        logs.complain("warning: a password on the command line is seen by all; use SWEEPER_STORAGE")


def _load(spec: str, overrides: list[str] | None, plugins: list[Path] | None) -> Spec:
    """The spec; plug-ins run first, because they may add keys to it."""
    from sweeper.spec import load

    if plugins:
        from sweeper.engine import cluster
        from sweeper.engine.plugins import load as load_plugins

        cluster.prepare()  # a plug-in may import Ray
        load_plugins(plugins)
    return load(lookup.find_spec(spec), overrides or [])


@app.command(epilog="Example: sweeper init mine.yaml --space batch_size")
def init(
    out: Annotated[Path, typer.Argument(help="The spec file to write.")] = Path("sweep.yaml"),
    space: Annotated[
        str,
        typer.Option(help="The shipped space to start from.", autocompletion=completion.spaces),
    ] = "batch_size",
    force: Force = False,
) -> None:
    """Write a commented spec file to start from, and beside it the schema for editors."""
    source = lookup.shipped()[inputs.one_of("--space", space, lookup.shipped())]
    from sweeper.cli import starting

    starting.write(out, source.read_text("utf-8"), force=force)
    print(out)
    logs.say(f"next: sweeper plan {out}")


@app.command(
    epilog="Example: sweeper launch batch_size --set train.epochs=5 --storage sqlite:///a.db"
)
def launch(
    spec: SpecArgument,
    storage: Storage = DEFAULT_STORAGE,
    overrides: Overrides = None,
    ray_address: RayAddress = None,
    open_ray: OpenRay = False,
    plugins: Plugins = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before starting.")] = False,
    new_data: Annotated[
        bool,
        typer.Option("--new-data", help="Agree that the data have changed: run everything again."),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option("--report", metavar="PATH", help="Write the report there at the end."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a live page beside it; print its address first.")
    ] = False,
) -> int:
    """Run a sweep; the same command again runs what is missing."""
    lookup.check_storage(storage)
    if page is not None:
        from sweeper.report.page import check_target

        check_target(page, force=False, option="--report")
    lookup.check_ray(ray_address, allow_open=open_ray)
    loaded = _load(spec, overrides, plugins)
    from sweeper.cli.streams import Lasting
    from sweeper.engine.driver import launch as drive
    from sweeper.live import Display

    logs.about(sweep=loaded.name)
    lines = logs.shown()  # log lines would break a live display
    with (
        watching.beside(loaded.name, storage, wanted=watch),
        Display(loaded.name, console=Lasting(), lines=lines) as display,
    ):
        outcome = drive(
            loaded,
            storage=storage,
            ray_address=ray_address,
            plugins=plugins or (),
            on_event=logs.Watched(display.show if not logs.as_json() else lambda event: None),
            yes=yes,
            new_data=new_data,
        )
    logs.say(outcome.message)
    for line in outcome.answer:
        logs.say(line)
    if page is not None:
        from sweeper.report.page import write

        with opened(storage) as store:
            logs.say(f"report: {write(store, outcome.sweep, out=page)}")
    if outcome.exit_code != INTERRUPTED:
        for line in inputs.next_commands(outcome.sweep, storage):
            logs.say(line)
    return outcome.exit_code


@app.command(epilog="Example: sweeper plan batch_size --set train.epochs=5 --json")
def plan(
    spec: SpecArgument,
    overrides: Overrides = None,
    ray_address: RayAddress = None,
    open_ray: OpenRay = False,
    plugins: Plugins = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show a sweep's cells, runs, packs, cost and smallest detectable effect."""
    lookup.check_storage(storage)
    lookup.check_ray(ray_address, allow_open=open_ray)
    loaded = _load(spec, overrides, plugins)
    from dataclasses import asdict

    from rich.console import Console

    from sweeper.cli import show
    from sweeper.engine.detectable import detectable, pilots
    from sweeper.engine.evaluations import stored
    from sweeper.engine.preview import preview
    from sweeper.live import Display

    before = None
    with suppress(SweeperError):  # `pilots` reports the error
        before = stored(storage, loaded.name)
    with Display(loaded.name, console=Console(stderr=True)) as display:
        found = preview(
            loaded,
            before=before,
            ray_address=ray_address,
            plugin_files=plugins or (),
            on_event=display.show,
        )
    finds = detectable(loaded, pilots(loaded.name, storage, say=logs.say))
    if as_json:
        listed = {"detectable": [asdict(effect) for effect in finds]}
        print(show.as_json("plan", {"name": loaded.name, **asdict(found), **listed}))
    else:
        show.plan(_out(), loaded.name, found)
        show.detectable(_out(), finds)


@app.command(epilog="Example: sweeper status --json")
def status(
    sweep: SweepArgument = None, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Show the state of each sweep in the database."""
    from sweeper.cli import show
    from sweeper.status import UNTOLD, sweep_status

    with opened(storage) as store:
        chosen = store.sweeps() if sweep is None else [lookup.find_sweep(store, sweep)]
        statuses = [sweep_status(store, sweep) for sweep in chosen]
        for one in statuses:
            if one["untold"]:
                one |= UNTOLD
                continue
            from sweeper.so_far import so_far  # statistics take seconds to import

            one |= so_far(store, str(one["name"]))
    if as_json:
        print(show.as_json("status", {"sweeps": statuses}))
    elif statuses:
        show.statuses(_out(), statuses)
    else:
        logs.say(f"{lookup.EMPTY}; start one with: sweeper launch SPEC")


@app.command(epilog="Example: sweeper report batch-size-digits --out report.html")
def report(
    sweeps: SweepArguments = None,
    storage: Storage = DEFAULT_STORAGE,
    out: Annotated[Path | None, typer.Option(help="The page to write [SWEEP.html].")] = None,
    figures: Annotated[
        str | None,
        typer.Option(metavar="pdf", help="For a paper: PDFs and LaTeX tables, in a folder beside."),
    ] = None,
    one_page: Annotated[
        bool, typer.Option("--one-page", help="One A4 page to hand on, as HTML and as PDF.")
    ] = False,
    service: FromService = None,
    force: Force = False,
) -> None:
    """Write a sweep's report, one self-contained page, and print its path.

    Several sweeps give one page that compares them.
    """
    if one_page and (figures is not None or (sweeps is not None and len(sweeps) > 1)):
        raise InputError("--one-page is for one sweep, and without --figures")
    if service is not None:
        remote.report(sweeps or [], service, out=out, force=force)
        return
    if sweeps is not None and len(sweeps) > 1:
        several.report(sweeps, storage, out=out, figures=figures, force=force)
        return
    if figures is not None:
        inputs.one_of("--figures", figures, ("pdf",))
        from sweeper.report.pdf import check

        check()
    with opened(storage) as store:
        name = lookup.find_sweep(store, sweeps[0] if sweeps else None).name
        if one_page:
            _report_sheet(store, name, out=out or Path(f"{name}-one-page.html"), force=force)
            return
        from sweeper.report.page import write

        print(page := write(store, name, out=out or Path(f"{name}.html"), force=force))
        if figures is not None:
            from sweeper.analysis.frames import load
            from sweeper.report.pdf import write as draw

            folder = page.with_name(f"{page.stem}-figures")
            for path in draw(load(store, name), folder):
                print(path)


def _report_sheet(store: Store, name: str, *, out: Path, force: bool) -> None:
    from sweeper.analysis.frames import load
    from sweeper.report import pdf, sheet

    print(made := sheet.write(store, name, out=out, force=force))
    try:
        print(pdf.write_sheet(load(store, name), made.with_suffix(".pdf")))
    except InputError as error:
        logs.say(f"without a PDF: {error}")


@app.command(epilog="Example: sweeper verify batch-size-digits.html")
def verify(
    page: Annotated[Path, typer.Argument(metavar="REPORT", help="A page of sweeper report.")],
) -> int:
    """Make a report again from the data inside it, and list the differences."""
    from sweeper.report.verify import MOST_TOLD
    from sweeper.report.verify import verify as compare

    found = compare(page)
    if found.remark:
        logs.say(found.remark)
    for difference in found.differences[:MOST_TOLD]:
        print(difference)
    if len(found.differences) > MOST_TOLD:
        logs.say(f"and {len(found.differences) - MOST_TOLD} more")
    if found.same:
        print(f"{page}: every number and word is what its data give")
    return int(not found.same)


@app.command(epilog="Example: sweeper export batch-size-digits --out tables")
def export(
    sweep: SweepArgument = None,
    storage: Storage = DEFAULT_STORAGE,
    out: Annotated[Path | None, typer.Option(help="The folder to write to [SWEEP].")] = None,
    force: Force = False,
) -> None:
    """Write a sweep's numbers as Parquet and CSV, and print the files' paths."""
    with opened(storage) as store:
        name = lookup.find_sweep(store, sweep).name
        from sweeper.report.export import export as write

        for path in write(store, name, out or Path(name), force=force):
            print(path)


@app.command(epilog="Example: sweeper spaces --json")
def spaces(as_json: AsJson = False) -> None:
    """List the questions that come with Sweeper, and their costs."""
    from sweeper.cli import show

    found = [show.space(name, path) for name, path in lookup.shipped().items()]
    if as_json:
        print(show.as_json("spaces", {"spaces": found}))
    else:
        show.spaces(_out(), found)


@app.command(epilog="Example: sweeper schema > sweeper.schema.json")
def schema() -> None:
    """Print the JSON Schema of spec files, for completion and checks in editors."""
    import json

    from sweeper.spec import json_schema

    print(json.dumps(json_schema(), indent=2))


app.command(epilog=watching.DASHBOARD)(watching.dashboard)
app.command(epilog=watching.WATCH)(watching.watch)
app.command(epilog=retrying.RETRY)(retrying.retry)
for _name, _epilog, _command in (
    ("serve", serving.SERVE, serving.serve),
    ("login", remote.LOGIN, remote.login),
    ("submit", remote.SUBMIT, remote.submit),
    ("queue", remote.QUEUE, remote.queue),
    ("show", remote.SHOW, remote.show),
    ("logs", remote.LOGS, remote.log),
    ("stop", remote.STOP, remote.stop),
    ("resume", remote.RESUME, remote.resume),
    ("cancel", remote.CANCEL, remote.cancel),
    ("extend", remote.EXTEND, remote.extend),
    ("priority", remote.PRIORITY, remote.priority),
    ("clone", remote.CLONE, remote.clone),
    ("link", remote.LINK, remote.link),
    ("limits", remote.LIMITS, remote.limits),
    ("token", remote.TOKEN, remote.token),
):
    app.command(_name, epilog=_epilog)(_command)
app.command("import", epilog=imports.IMPORT)(imports.import_runs)
app.command(epilog=keeping.ARCHIVE)(keeping.archive)
app.command(epilog=keeping.RESTORED)(keeping.restored)
app.command(epilog=machine.DOCTOR)(machine.doctor)
app.command(epilog=machine.CACHE)(machine.cache)
app.command(epilog=machine.CONFIG)(machine.config)
app.command(epilog=models.BEST)(models.best)
app.command(epilog=models.DIFF)(models.diff)
app.command(epilog=models.TRAIN)(models.train)
app.command(epilog=models.PREDICT)(models.predict)

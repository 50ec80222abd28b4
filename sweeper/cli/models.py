"""The commands that use a sweep's result: best, train, predict, diff."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeper import lookup
from sweeper.cli import inputs, remote
from sweeper.cli.options import (
    AsJson,
    Force,
    FromService,
    Plugins,
    Storage,
    SweepArgument,
    opened,
)
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

BEST = "Example: sweeper best batch-size-digits --out best.yaml"
DIFF = "Example: sweeper diff mine.yaml batch-size-digits"
TRAIN = "Example: sweeper train best.yaml --out model"
PREDICT = "Example: sweeper predict model new.csv --out classes.csv (of images: new.npz)"


def best(
    sweep: SweepArgument = None,
    storage: Storage = DEFAULT_STORAGE,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="FACTOR=LEVEL", help="Among the cells at it; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The YAML file to write; else stdout.")] = None,
    as_json: AsJson = False,
    service: FromService = None,
    force: Force = False,
) -> None:
    """Print the recommended configuration as YAML, for `sweeper train`.

    It has the best mean objective on the validation split; the test split is not used.
    Factors of the data are fixed at the strongest imbalance, unless --at names another level.
    """
    held = inputs.pairs("--at", at or ())
    if service is not None:
        remote.best(sweep, service, plain=not (at or out), as_json=as_json)
        return
    with opened(storage) as store:
        name = lookup.find_sweep(store, sweep).name
        from sweeper.analysis.frames import load
        from sweeper.analysis.view import view_of
        from sweeper.cli import show
        from sweeper.topics.recommendation import text as recommended
        from sweeper.topics.recommendation.estimate import recommend

        frames = load(store, name)
    made = recommend(view_of(frames), at=held)
    if out is not None:
        recommended.write(made, out, force=force)
    if as_json:
        print(show.as_json("best", recommended.document(made)))
    elif out is None:
        print(recommended.text(made), end="")
    else:
        print(out)
    for line in made.remarks:
        print(line, file=sys.stderr)


def train(
    config: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="data: and train: blocks, as sweeper best writes."),
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to save the network in.")] = None,
    replicate: Annotated[int, typer.Option(help="Which subset, initialisation and order.")] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; by default by the size of a step."),
    ] = None,
    plugins: Plugins = None,
    force: Force = False,
) -> int:
    """Train a configuration, and save the network with its model card; needs no database.

    Prints a line of JSON after each round. Paths in the file are relative to its folder. Exit code
    3: the run diverged, and nothing was saved.
    """
    from sweeper.engine.plugins import load as load_plugins
    from sweeper.train import train as train_one

    loaded = load_plugins(plugins or ())
    return train_one(
        config,
        replicate=replicate,
        device=device,
        threads=threads,
        out=out,
        force=force,
        plugins=loaded,
    )


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A folder that `sweeper train --out` wrote."),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Of a table .csv or .parquet; of images .npz, .parquet or a folder.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The .csv or .parquet to write [DATA-classes.csv].")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Apply a saved model to data: each row's class and probabilities; needs no database.

    A model of a table takes a .csv, .csv.gz or .parquet with its columns.
    A model of images takes a .npz with an array images, x or x_test, a
    .parquet with a column of image files, or a folder of them; of its own
    size, or of any where it was trained with data.size.
    README.md in the model's folder says which columns, or which size.

    Where the file has the classes too, in the column that was the target or
    in an array labels, y or y_test, the recall of each is shown; rows of a
    class that the model does not know are counted apart.
    """
    from sweeper import predict as apply
    from sweeper.cli import show

    target = out or Path(f"{data.name.partition('.')[0]}-classes.csv")
    found = apply.predict(model, data, out=target, force=force)
    if as_json:
        print(show.as_json("predict", found.as_json()))
        return
    print(found.out)
    from rich.console import Console

    show.strange(Console(stderr=True), found)
    if found.recalls is not None:
        show.recalls(Console(stderr=True), found)


def diff(
    left: Annotated[str, typer.Argument(metavar="A", help="A spec file, sweep or cell.")],
    right: Annotated[str, typer.Argument(metavar="B", help="Another of its kind.")],
    storage: Storage = DEFAULT_STORAGE,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Show the differences between two cells, or two sweeps or spec files.

    A cell is named by the first digits of its hash. A file of data: and train: blocks, which
    `sweeper best` writes, counts as a cell. Exit codes are those of diff: 0 without differences, 1
    with differences, 2 when an item cannot be read.
    """
    from sweeper.cli import operands, show
    from sweeper.engine.plugins import load as load_plugins
    from sweeper.report.difference import changes

    load_plugins(plugins or ())  # a spec file may have keys of theirs
    one, two = (operands.side(word, lambda: opened(storage)) for word in (left, right))
    if one.kind != two.kind:
        raise InputError(
            f"{left!r} is a {one.kind}, {right!r} a {two.kind}: compare cells with cells, and "
            "sweeps or spec files with each other"
        )
    found = changes(one, two)
    if as_json:
        body = {"left": one.label, "right": two.label, "changes": [c.as_json() for c in found]}
        print(show.as_json("diff", body))
    elif found:
        from rich.console import Console

        show.changes(Console(), one.label, two.label, found)
    return int(bool(found))

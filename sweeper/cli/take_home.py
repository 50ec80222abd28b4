"""The commands by which an answer is taken home: best, predict, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import AsJson, Force

PREDICT = "Example: sweeper predict model new.csv --out classes.csv"


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A folder that `python -m trainers --out` wrote."),
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A file: .npz, .parquet, .csv or .csv.gz.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The .csv or .parquet to write [DATA-classes.csv].")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Apply a saved model to data: each row's class and probabilities; needs no database.

    Where the file has the classes too, the recall of each is shown.
    """
    from sweeper import predict as apply
    from sweeper.cli import show

    target = out or Path(f"{data.name.partition('.')[0]}-classes.csv")
    found = apply.predict(model, data, out=target, force=force)
    if as_json:
        print(show.as_json("predict", found.as_json()))
        return
    print(found.out)
    if found.recalls is not None:
        from rich.console import Console

        show.recalls(Console(stderr=True), found)

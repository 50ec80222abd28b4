"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper import lookup
from sweeper.cli import completion

if TYPE_CHECKING:
    from sweeper.store.store import Store

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A spec file, or the name of a shipped space.",
        autocompletion=completion.specs,
    ),
]
OptionalSpec = Annotated[
    str | None,
    typer.Argument(
        metavar="SPEC",
        help="A spec file, whose data each node of a cluster reads.",
        autocompletion=completion.specs,
    ),
]
SweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="Its name; optional if it is the only sweep.",
        autocompletion=completion.sweeps,
    ),
]
SweepArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SWEEP",
        help="Its name, or several: one page that compares them.",
        autocompletion=completion.sweeps,
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        envvar="SWEEPER_STORAGE", metavar="URL", help="The database: sqlite:///F or postgresql://"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the spec; repeatable.",
        autocompletion=completion.overrides,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="SWEEPER_RAY_ADDRESS", metavar="ADDRESS", help="An existing Ray cluster's address."
    ),
]
OpenRay = Annotated[
    bool,
    typer.Option(
        "--allow-unauthenticated-ray", help="Agree to a Ray that asks for no token (unsafe)."
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A Python file that adds parts, data or trainers; repeatable.",
    ),
]
FromService = Annotated[
    str | None,
    typer.Option(
        "--service", metavar="URL", help="Ask this service; `last` is that of the last login."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, of a versioned schema.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", envvar="SWEEPER_VERBOSE", help="Show the log on stderr too."),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file", envvar="SWEEPER_LOG_FILE", metavar="PATH", help="Add the log to this file."
    ),
]

LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        envvar="SWEEPER_LOG_FORMAT",
        metavar="FORMAT",
        help="text, or json: a JSON object a line, on stderr and in the log.",
    ),
]


def general_first(words: Sequence[str]) -> list[str]:
    """Returns the words with the general options, and their values, moved to the front.

    So `sweeper launch SPEC -v` is equal to `sweeper -v launch SPEC`.
    """
    first: list[str] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        valued = word in ("--log-file", "--log-format")
        joined = word.startswith(("--log-file=", "--log-format="))
        general = valued or joined or word in ("-v", "--verbose")
        (first if general else rest).append(word)
        if valued and left:
            first.append(left.pop(0))
    return first + rest


@contextmanager
def opened(storage: str) -> Iterator[Store]:
    """Opens a database that must exist."""
    lookup.check_storage(storage)
    from sweeper.store.store import Store

    store = Store.open(storage, create=False)
    try:
        yield store
    finally:
        store.close()

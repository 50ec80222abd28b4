"""Trains a configuration and saves it: `python -m trainers` as a command of Sweeper.

A user's own folder `trainers` in the working directory hides that module from `python -m`, but not
from an installed command.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.errors import InputError


def train(
    path: Path,
    *,
    replicate: int,
    device: str,
    threads: int | None = None,
    out: Path | None,
    force: bool,
    plugins: Sequence[str] = (),
) -> int:
    """Trains the configuration in the file `path`, and saves the network in `out`.

    Raises:
        InputError: the file, the device or `out` cannot be used.
    """
    from trainers.__main__ import Unusable, run

    try:
        return run(
            path,
            replicate=replicate,
            device=device,
            threads=threads,
            out=out,
            force=force,
            plugins=plugins,
        )
    except Unusable as error:
        raise InputError(str(error)) from error

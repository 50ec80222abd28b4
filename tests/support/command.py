"""The real command in a folder of its own: in a process of its own, or in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from patience import HANG

from sweeper.cli.app import run

TINY = """\
name: tiny
question: Does the batch size matter?
data: {dataset: digits, max_per_class: 30, imbalance: {profile: step}}
train: {model: resnet, depth: 8, width: 0.25, epochs: 2, lr: 0.05}
scientific:
  train.batch_size: [32, 64]
  data.imbalance.train_ratio: [1.0, 0.2]
replicates: 2
resources: {pack: 2, workers: 1}
"""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without Sweeper's own variables but the cache, and with `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SWEEPER_") or name == "SWEEPER_CACHE"
    }
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", **more}


def sweeper(
    *arguments: str, cwd: Path, under: Sequence[str] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `sweeper ARGUMENTS` in `cwd`; `more` are environment variables.

    A command `under` is followed by the real one, which it runs.

    As of the installed command, the working directory is not on the path (-P).
    """
    code = "from sweeper.cli import main; main()"
    return subprocess.run(
        [*under, sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


def sweeper_here(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has loaded already what a command needs to start.

    For commands that start no Ray and load no plug-in.
    """
    with (
        chdir(cwd),
        mock.patch.dict(os.environ, environment(**more), clear=True),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        code = run(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

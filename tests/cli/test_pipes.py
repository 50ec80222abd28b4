"""A reader who goes before the end, as in `sweeper spaces | head -1`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import planted
import pytest
from command import TINY, environment

from sweeper.states import RunState
from sweeper.store import Store

COMMAND = "from sweeper.cli import main; main()"
BEST = "data: {dataset: digits, max_per_class: 9}\ntrain: {epochs: 1, batch_size: 32}\n"
PRINT = ["spaces", "spaces --json", "schema", "status", "status --json", "best",
         "--help", "launch --help", "--version", "export --out tables",
         "train best.yaml"]  # fmt: skip
REFUSED, KEPT = "report nothing", "train best.yaml --out model"
FULL = Path("/dev/full")  # where no byte can be written
FILL = ["spaces", "schema", "status", "--version"]
full_disk = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")

# Loads once what the commands load, and runs each in a process that is forked from there.
FORKED = """
import gc, json, os, sys
import scipy.stats, torch
import sweeper.report.export, sweeper.so_far, trainers.loop
from sweeper.cli import main

commands, ended = json.loads(sys.argv[1]), []
gc.freeze()  # at its end each would look through all that is loaded
for command, full in commands:
    read, write = os.pipe()
    if not os.fork():
        reader, writer = os.pipe()
        os.close(reader)  # nobody reads
        os.dup2(os.open("/dev/full", os.O_WRONLY) if full else writer, 1)
        os.dup2(write, 2)
        for one in (read, write, writer):
            os.close(one)
        sys.argv = ["sweeper", *command.split()]
        main()
    os.close(write)
    with open(read) as errors:
        said = errors.read()
    ended.append((os.waitstatus_to_exitcode(os.wait()[1]), said))
print(json.dumps(ended))
"""
Ended = dict[tuple[str, bool], tuple[int, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep."""
    made = tmp_path_factory.mktemp("pipes")
    with Store.open(f"sqlite:///{made}/sweeper.db", create=True) as store:
        planted.fill(store, planted.plan(epochs=2, replicates=2))
    (made / "best.yaml").write_text(BEST)
    return made


@pytest.fixture(scope="module")
def ended(folder: Path) -> Ended:
    """Exit code and stderr of commands, by whether their output goes to a full disk.

    Nobody reads the output of the others.
    """
    commands = [(one, False) for one in (*PRINT, REFUSED, KEPT)]
    commands += [(one, True) for one in FILL if FULL.exists()]
    done = subprocess.run(
        [sys.executable, "-c", FORKED, json.dumps(commands)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {command: (code, said) for command, (code, said) in zip(commands, found, strict=True)}


@pytest.mark.parametrize("command", PRINT)
def test_a_command_that_prints_ends_with_0(ended: Ended, command: str) -> None:
    """Under `set -o pipefail` too, and without a word of Python's about the pipe."""
    code, error = ended[command, False]
    assert (code, "Exception" in error, "Error" in error) == (0, False, False), error


def test_an_error_keeps_its_exit_code(ended: Ended) -> None:
    """Only output is lost with the reader, not what went wrong."""
    assert ended[REFUSED, False][0] == 2


def test_a_network_that_is_to_be_kept_is_trained_to_its_end(ended: Ended, folder: Path) -> None:
    """`sweeper train ... --out model | head -1` saves the model all the same."""
    code, error = ended[KEPT, False]
    assert (code, "saved in model" in error) == (0, True), error
    assert (folder / "model" / "README.md").exists()


def test_a_sweep_outlives_whoever_reads_its_progress(folder: Path) -> None:
    """Ctrl-C ends a `tee` before the sweep, which is to finish its round and save."""
    code = (
        "from sweeper.cli import streams\n"
        "from sweeper.live import Display\n"
        "with Display('x', console=streams.Lasting()) as display:\n"
        "    [display.show('finishing the current round') for _ in range(3)]\n"
        "streams.say('done')\n"
        "print('went on')"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=writer,
        text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@full_disk
@pytest.mark.parametrize("command", FILL)
def test_output_that_cannot_be_written_is_said_in_a_line(ended: Ended, command: str) -> None:
    """Exit 1 with the reason, and no fault of Sweeper's own."""
    said = "sweeper: standard output cannot be written: No space left on device\n"
    assert ended[command, True] == (1, said)


@full_disk
@pytest.mark.slow
def test_a_sweep_goes_on_where_its_messages_cannot_be_written(tmp_path: Path) -> None:
    """A full disk under the log of a service costs the messages, not the runs."""
    (tmp_path / "tiny.yaml").write_text(TINY.replace("replicates: 2", "replicates: 1"))
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "launch", "tiny.yaml", "--yes"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=full,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == 0
    with Store.open(f"sqlite:///{tmp_path}/sweeper.db", create=False) as store:
        [sweep] = store.sweeps()
        assert {run.state for run in store.runs(sweep.id)} == {RunState.COMPLETE}


def test_a_terminal_that_was_closed_is_no_error() -> None:
    """As a pipe whose reader is gone: the exit code is the command's own."""
    ours, terminal = os.openpty()
    code = "import sys; from sweeper.cli import streams; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.exit(streams.finished(3))"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.close(ours)
    assert process.communicate(b"") == (None, b"")
    assert process.returncode == 3

"""A reader who goes before the end, as in `sweeper spaces | head -1`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import planted
import pytest
from command import TINY, environment

from sweeper.states import RunState
from sweeper.store import Store

COMMAND = [sys.executable, "-c", "from sweeper.cli import main; main()"]
BEST = "data: {dataset: digits, max_per_class: 9}\ntrain: {epochs: 2, batch_size: 16}\n"


def unread(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose standard output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(), stdout=writer,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep."""
    made = tmp_path_factory.mktemp("pipes")
    with Store.open(f"sqlite:///{made}/sweeper.db", create=True) as store:
        planted.fill(store, planted.plan(epochs=2, replicates=2))
    (made / "best.yaml").write_text(BEST)
    return made


@pytest.mark.parametrize(
    "command",
    ["spaces", "spaces --json", "schema", "status", "status --json", "best", "doctor", "--help",
     "launch --help", "--version", "export --out tables", "train best.yaml"],
)  # fmt: skip
def test_a_command_that_prints_ends_with_0(folder: Path, command: str) -> None:
    """Under `set -o pipefail` too, and without a word of Python's about the pipe."""
    code, error = unread(folder, *command.split())
    assert (code, "Exception" in error, "Error" in error) == (0, False, False), error


def test_an_error_keeps_its_exit_code(folder: Path) -> None:
    """Only output is lost with the reader, not what went wrong."""
    assert unread(folder, "report", "nothing")[0] == 2


def test_a_network_that_is_to_be_kept_is_trained_to_its_end(folder: Path) -> None:
    """`sweeper train ... --out model | head -1` saves the model all the same."""
    code, error = unread(folder, "train", "best.yaml", "--out", "model")
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


def test_a_full_disk_is_told(folder: Path) -> None:
    """What could not be written must not look as if it had been."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "--version"], cwd=folder, env=environment(), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "standard output cannot be written: No space left on device" in done.stderr


FULL = Path("/dev/full")  # where no byte can be written
full_disk = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@full_disk
@pytest.mark.parametrize("command", ["spaces", "schema", "status"])
def test_output_that_cannot_be_written_is_said_in_a_line(folder: Path, command: str) -> None:
    """Exit 1 with the reason, and no fault of Sweeper's own."""
    with FULL.open("w") as full:
        done = subprocess.run(
            [*COMMAND, command],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    said = "sweeper: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@full_disk
@pytest.mark.slow
def test_a_sweep_goes_on_where_its_messages_cannot_be_written(tmp_path: Path) -> None:
    """A full disk under the log of a service costs the messages, not the runs."""
    (tmp_path / "tiny.yaml").write_text(TINY.replace("replicates: 2", "replicates: 1"))
    with FULL.open("w") as full:
        done = subprocess.run(
            [*COMMAND, "launch", "tiny.yaml", "--yes"],
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

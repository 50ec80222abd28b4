"""What a shell completes: commands, spec files, sweeps, keys, reasons."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import sweeper, sweeper_here

from sweeper.cli import completion
from sweeper.states import FAILURES
from sweeper.store.records import NewSweep
from sweeper.store.store import Store

Command = Callable[..., subprocess.CompletedProcess[str]]


def completed(line: str, cwd: Path, *, command: Command = sweeper_here, **more: str) -> list[str]:
    """What bash offers for the last word of a line, which a blank at the end makes empty."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    done = command(
        cwd=cwd,
        _SWEEPER_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **more,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_options_are_completed(tmp_path: Path) -> None:
    """A broken settings file does not get in the way."""
    (tmp_path / "sweeper.toml").write_text("nothing = 1\n")
    assert completed("sweeper sta", tmp_path, command=sweeper) == ["status"]
    assert completed("sweeper launch --ray", tmp_path) == ["--ray-address"]


def test_a_spec_is_a_shipped_space_or_a_file(tmp_path: Path) -> None:
    """Files of the folder that is being typed."""
    (tmp_path / "batches").mkdir()
    for name in ("bat.yaml", "batches/one.yml", "other.yaml", "bat.txt"):
        (tmp_path / name).write_text("")
    shipped = ["batch_composition", "batch_size"]
    assert completed("sweeper plan bat", tmp_path) == [*shipped, "bat.yaml"]
    assert completed("sweeper plan batches/", tmp_path) == ["batches/one.yml"]


def test_sweeps_are_those_of_the_database(tmp_path: Path) -> None:
    """The environment or the option names the database; without it, no names and no error."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with Store.open(url, create=True) as store:
        for name in ("digits", "digits-steps", "moons"):
            store.create_sweep(
                NewSweep(
                    name=name,
                    question="",
                    spec_text="",
                    spec={},
                    layout=(),
                    facts={},
                    provenance={},
                )
            )
    assert completed("sweeper status di", tmp_path, SWEEPER_STORAGE=url) == [
        "digits",
        "digits-steps",
    ]
    assert completed(f"sweeper report --storage {url} mo", tmp_path) == ["moons"]
    assert completed("sweeper status ", tmp_path) == []


def test_keys_of_a_spec_are_completed_for_set() -> None:
    """Dotted keys of every block, with the = that follows; all of them are keys of the schema."""
    assert completion.overrides("train.batch") == ["train.batch_size="]
    assert "data.imbalance.train_ratio=" in completion.overrides("data.")
    assert "name=" in completion.overrides("")


def test_spaces_and_reasons_are_completed() -> None:
    """Those that the commands accept."""
    assert completion.spaces("batch_size") == ["batch_size"]
    assert completion.reasons("") == sorted(FAILURES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_can_be_shown(shell: str, tmp_path: Path) -> None:
    """For those who keep such scripts in a place of their own."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = sweeper_here("--show-completion", shell, cwd=tmp_path, **named)
    assert done.returncode == 0
    assert completion.VARIABLE in done.stdout

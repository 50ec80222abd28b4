"""Bad input: exit code 2, one line on stderr, and nothing started or made."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from pathlib import Path

import planted
import pytest
from command import TINY, sweeper

from sweeper.cli.app import run
from sweeper.store import Store

# Arguments, and what the one line must say.
CASES: list[tuple[list[str], str]] = [
    (["launch", "missing.yaml"], r"'missing.yaml': no such file, and no shipped space .* valid: "),
    (["launch", "batch_sise"], r"'batch_sise': no such file.*did you mean 'batch_size'"),
    (["launch", "tiny.yml"], r"'tiny.yml': no such file.*did you mean 'tiny.yaml'"),
    (["plan", "./other.yaml"], r"'./other.yaml': no such file.*did you mean 'other.yml'"),
    (["launch", "tinny.yaml"], r"'tinny.yaml': no such file.*did you mean 'tiny.yaml'"),
    (["launch", "folder"], r"folder: .*directory"),
    (["launch", "bad.yaml"], r"bad\.yaml:9: train\.epochs: 'many': must be a whole number"),
    (["plan", "bad.yaml"], r"bad\.yaml:9: train\.epochs: 'many': must be a whole number"),
    (["launch", "tiny.yaml", "--set", "train.epoch=3"], r"train\.epoch: no such key.*'epochs'"),
    (["launch", "tiny.yaml", "--set", "train.epochs"], r"must be KEY=VALUE"),
    (["launch", "tiny.yaml", "--storage", "a.db"], r"'a\.db' is a path.*write sqlite:///a\.db"),
    (["launch", "tiny.yaml", "--storage", ""], r"--storage: empty"),
    (["launch", "tiny.yaml", "--storage", "mysq://x/y"], r"unknown database driver 'mysq'"),
    (["launch", "tiny.yaml", "--storage", "sqlite://"], r"name a file"),
    (["launch", "tiny.yaml", "--storage", "sqlite:///no/such/x.db"], r"there is no folder"),
    (
        ["launch", "tiny.yaml", "--storage", f"sqlite:///{'a' * 300}.db"],
        r"not a file name: at mo",
    ),
    (
        ["doctor", "--storage", f"sqlite:///{'a' * 300}.db"],
        r"'aaa.*is not a file name: at most 220",
    ),
    (["status", "--storage", "sqlite:///a%00b.db"], r"not a file name: .* and no NUL"),
    (["verify", "/dev/zero"], r"/dev/zero: is not a file; name a page that sweeper report wrote"),
    (["verify", "/dev/stdin"], r"/dev/stdin: is not a file"),
    (["verify", "pipe"], r"pipe: is not a file"),
    (["verify", "folder"], r"folder: is not a file"),
    (["launch", "tiny.yaml", "--storage", "sqlite:///text.db"], r"not a database"),
    (["launch", "tiny.yaml", "--storage", "sqlite:///foreign.db"], r"another program's database"),
    (["status"], r"no such database; `sweeper launch SPEC` makes one"),
    (["report", "--storage", "sqlite:///foreign.db"], r"another program's database"),
    (["export"], r"no such database"),
    (["dashboard", "--port", "0"], r"no such database"),
    (["dashboard", "--host", "0.0.0.0"], r"'0\.0\.0\.0' is not a loopback address"),  # noqa: S104
    (["dashboard", "--port", "99999"], r"'--port'"),
    (["retry", "--reason", "oom"], r"--reason: 'oom' is not known.*out_of_memory"),
    (["init", "tiny.yaml"], r"tiny\.yaml exists; --force overwrites it"),
    (["init", "no/such/x.yaml"], r"cannot be written"),
    (["init", "new.yaml", "--space", "width_"], r"'width_' is not known.*'width'"),
    (["lunch"], r"No such command 'lunch'.*'launch'"),
    (["status", "--jsn"], r"No such option: --jsn.*--json"),
    (["launch"], r"Missing argument 'SPEC'"),
    (["launch", "tiny.yaml", "--plugin", "nope.py"], r"--plugin nope\.py: no such Python file"),
    (["launch", "tiny.yaml", "--plugin", "exits.py"], r"--plugin exits\.py: SystemExit: 0"),
    (["plan", "tiny.yaml", "--storage", "mysq://x/y"], r"unknown database driver 'mysq'"),
    (["launch", "tiny.yaml", "--ray-address", ""], r"--ray-address: empty; .*HOST:PORT"),
    (["launch", "tiny.yaml", "--ray-address", "x"], r"--ray-address: 'x' is not HOST:PORT"),
    (["plan", "tiny.yaml", "--ray-address", "a b:6379"], r"'a b:6379' is not HOST:PORT"),
    (["launch", "tiny.yaml", "--ray-address", "head:0"], r"the port must be 1024 to 65535"),
    (["launch", "tiny.yaml", "--ray-address", "local"], r"'local'.*leave --ray-address out"),
    (["launch", "tiny.yaml", "--ray-address", "ray://h:10001"], r"remote client.*ray job submit"),
    (["serve", "--gpus", "2"], r"--gpus 2: sweeps with a Ray each.*--ray-address HOST:PORT"),
    (["doctor", "--storage", "postgresql://me@host:port/x"], r"postgresql URL cannot be read"),
]
# These need the data or a connection, so the whole engine is imported first.
SLOW_CASES: list[tuple[list[str], str]] = [
    (["--set", "data.dataset=digit"], r"data\.dataset: 'digit'.*'digits'"),
    (
        ["--set", "data.dataset=npz", "--set", "data.path=no.npz"],
        r"data\.path: '.*no\.npz': cannot",
    ),
    (["--set", "scientific.train.batch_size=[32, 4096]"], r"4096: is more than the 300 samples"),
    (
        ["--ray-address", "127.0.0.1:1024"],
        r"no server answers at '127\.0\.0\.1:1024'.*--node-ip-address=ADDRESS",
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a good spec, a bad one, and files that are not ours."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    bad = TINY.replace("train: {model: resnet, depth: 8, width: 0.25, epochs: 2, lr: 0.05}\n", "")
    (tmp_path / "bad.yaml").write_text(f"{bad}train: {{epochs: many}}\n")
    (tmp_path / "other.yml").write_text(TINY)
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.db").write_text("not a database, just text")
    with sqlite3.connect(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    monkeypatch.chdir(tmp_path)
    for name in ("SWEEPER_STORAGE", "SWEEPER_DEBUG", "SWEEPER_RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def the_line(text: str) -> str:
    """The only line of an error output, which is one of ours."""
    assert text.count("\n") == 1, text
    assert text.startswith("sweeper: "), text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(("arguments", "expected"), CASES, ids=lambda case: " ".join(case)[:60])
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each refusal names what, where and the way out; every file is as it was."""
    before = contents(folder)
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(expected, the_line(err)), err
    assert contents(folder) == before


def test_all_that_is_wrong_in_a_spec_is_told_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, in the order of the file, so that one look is enough to mend it."""
    (folder / "bad.yaml").write_text(f"{TINY}objective: auroc\nseed: 1\npruner: ahsa\n")
    assert run(["launch", "bad.yaml", "--set", "train.epochs=many"]) == 2
    lines = capsys.readouterr().err.splitlines()
    begin = [
        "--set 'train.epochs=many': train.epochs: 'many': must be a whole number",
        "bad.yaml:10: objective.metric: 'auroc': no such metric",
        "bad.yaml:11: seed: no such key",
        "bad.yaml:12: pruner.method: 'ahsa': must be one of none, asha",
    ]
    assert len(lines) == len(begin)
    assert all(map(str.startswith, lines, (f"sweeper: {line}" for line in begin))), lines


@pytest.mark.parametrize(("more", "expected"), SLOW_CASES, ids=lambda case: " ".join(case)[:60])
def test_what_only_the_data_can_tell_starts_nothing_either(
    more: list[str], expected: str, folder: Path
) -> None:
    """The real command: data are looked at before the database is made and before Ray starts."""
    before = contents(folder)
    with tempfile.TemporaryDirectory(dir="/tmp") as rays:
        done = sweeper("launch", "tiny.yaml", *more, cwd=folder, RAY_TMPDIR=rays)
        assert not os.listdir(rays)
    assert done.returncode == (6 if "--ray-address" in more else 2), done.stderr
    assert done.stdout == ""
    assert re.search(expected, the_line(done.stderr)), done.stderr
    assert contents(folder) == before


def test_a_password_is_never_printed(folder: Path) -> None:
    """A database that does not answer is named by host, without its password."""
    url = "postgresql://me:hunter2@127.0.0.1:1/x"
    done = sweeper("status", cwd=folder, SWEEPER_STORAGE=url)
    assert done.returncode == 1
    assert "127.0.0.1" in the_line(done.stderr)
    assert "hunter2" not in done.stdout + done.stderr


def test_a_password_on_the_command_line_is_warned_of(folder: Path) -> None:
    """`ps` shows arguments to everyone, the environment to nobody else."""
    done = sweeper("status", "--storage", "postgresql://me:hunter2@127.0.0.1:1/x", cwd=folder)
    assert "password on the command line" in done.stderr.splitlines()[0]
    assert "hunter2" not in done.stderr


def test_a_misspelt_variable_is_warned_of_and_the_command_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SWEEPER_STORGE would otherwise be silently ignored."""
    monkeypatch.setenv("SWEEPER_STORGE", "sqlite:///x.db")
    assert run(["schema"]) == 0
    assert "SWEEPER_STORGE is set" in the_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report", "other"], r"no sweep named 'other' in this database; valid: batch-size-digits"),
        (["report", "--out", "there.html"], r"there\.html.*--force"),
        (["export", "--out", "there"], r"there.*--force"),
    ],
)
def test_what_is_there_is_neither_overwritten_nor_guessed(
    arguments: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong name is refused with the nearest; an existing target needs --force."""
    with Store.open("sqlite:///sweeper.db", create=True) as store:
        planted.fill(store, planted.plan(epochs=2, replicates=2))
    (folder / "there.html").write_text("mine")
    (folder / "there").mkdir()
    (folder / "there" / "runs.csv").write_text("mine")
    assert run(arguments) == 2
    assert re.search(expected, the_line(capsys.readouterr().err))
    assert (folder / "there.html").read_text() == "mine"
    assert (folder / "there" / "runs.csv").read_text() == "mine"


def test_a_refused_launch_says_nothing_of_a_token_that_it_does_not_use(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others can read the token file of this home, but no Ray is started or joined with it."""
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("a" * 64)
    (folder / ".ray" / "auth_token").chmod(0o644)
    assert run(["launch", "tiny.yaml", "--set", "data.dataset=digit"]) == 2
    assert "data.dataset" in the_line(capsys.readouterr().err)

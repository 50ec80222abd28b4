"""The commands that the documents show exist and work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import typer
from command import environment, sweeper
from patience import HANG

from sweeper import spec
from sweeper.cli.app import app, run

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "docker" / "README.md",
    ROOT / "deploy" / "slurm" / "README.md",
]
TARGETS = {
    "demo",
    "serve",
    "test",
    "audit",
    "soak",
    "fast",
    "check",
    "bench",
    "docs",
    "site",
    "clean",
}


def blocks(path: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a document."""
    for found in re.finditer(rf"```{language}\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
        yield found[1]


def typed(path: Path) -> list[list[str]]:
    """Every `sweeper ...` line of a document's shell blocks, as words."""
    lines = (line for block in blocks(path, "sh") for line in block.splitlines())
    bare = (line.split("#")[0].strip() for line in lines)
    found = (re.search(r"(?:^|sweeper-env |driver )(sweeper .*)", line) for line in bare)
    return [shlex.split(match[1]) for match in found if match]


COMMANDS = [
    pytest.param(words, id=f"{path.name}: {shlex.join(words)}")
    for path in DOCUMENTS
    for words in typed(path)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_line_in_the_documents_is_one(words: list[str]) -> None:
    """Command and options exist; nothing is run."""
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    options = {
        flag for parameter in commands[words[1]].params for flag in getattr(parameter, "opts", ())
    }
    assert {word for word in words[2:] if word.startswith("-")} <= options


def test_every_command_is_in_the_readme() -> None:
    """A command that nobody reads of is not there."""
    told = {words[1] for path in DOCUMENTS for words in typed(path)}
    told |= set(re.findall(r"`sweeper ([a-z]+)", (ROOT / "README.md").read_text("utf-8")))
    group = typer.main.get_command(app)
    assert told == set(group.commands)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_readme_spec_is_one() -> None:
    """The example can be copied into a file and launched."""
    [example] = blocks(ROOT / "README.md", "yaml")
    assert spec.parse(example, "README.md").name == "batch-size-digits"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    """Every relative link names a file of the repository."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [
        target for target in targets if "://" not in target and not (path.parent / target).exists()
    ]
    assert missing == []


def test_the_architecture_names_every_folder() -> None:
    """A part that comes or goes changes the tree, so that a newcomer can trust it.

    The first line of a file says the rest.
    """
    named = set(re.findall(r"[\w.]+/?", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    files = [path for part in ("sweeper", "trainers") for path in (ROOT / part).rglob("*.py")]
    topics = ROOT / "sweeper" / "topics"
    folders = {f"{path.parent.name}/" for path in files if topics not in path.parents[1:]}
    modules = {path.name for path in files if path.parent == ROOT / "sweeper"} - {"__init__.py"}
    assert (folders | modules) - {"versions/"} - named == set()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_bare_make_lists_the_commands() -> None:
    """`make` alone starts nothing and names every target."""
    # As from a shell: a make that runs the tests would have this one say where it is.
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    env = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(["make"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {*TARGETS, "help"}


def test_the_make_targets_in_the_documents_exist() -> None:
    """Every make target that a document names exists."""
    told = {
        target
        for path in DOCUMENTS
        for words in re.findall(r"(?m)(?:^|`)make ((?:[a-z]+ ?)+)", path.read_text("utf-8"))
        for target in words.split()
    }
    assert told <= TARGETS


def test_every_dependency_is_pinned_at_or_above_its_floor() -> None:
    """constraints.txt has an exact version of each, below its bound, and names no place."""
    text = (ROOT / "constraints.txt").read_text()
    pins = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([0-9.]+)$", text))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["test"], *extras["check"], *extras["docs"]]:
        found = re.fullmatch(r"([a-z0-9.-]+)(?:\[[^\]]*\])?>=([0-9.]+)(?:,<([0-9.]+))?", line)
        assert found, line
        have, need, below = (
            tuple(map(int, text.split(".")))
            for text in (pinned[found[1].replace(".", "-")], found[2], found[3] or "9999")
        )
        assert need <= have < below, line
    assert "://" not in text
    assert "@" not in text


def test_the_ci_script_is_a_program() -> None:
    """It can be started as it is, and parses."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def _smaller(path: Path) -> None:
    """What a reader in a hurry would edit: fewer levels, no tuning, one epoch, two replicates."""
    text = path.read_text()
    text = re.sub(r"(?m)^nuisance:\n(?:  .*\n)+", "", text)
    text = re.sub(r"epochs: \d+", "epochs: 1", text)
    text = re.sub(r"warmup_epochs: \d+", "warmup_epochs: 0", text)
    text = re.sub(r"width: 1\b", "width: 0.25", text)
    text = re.sub(r"train\.batch_size: \[.*\]", "train.batch_size: [32, 64]", text)
    text = text.replace("dataset: digits", "dataset: digits, max_per_class: 40")
    text += "resources: {workers: 1, pack: 2}\n"
    path.write_text(re.sub(r"replicates: \d+", "replicates: 2", text))


def _steps(path: Path) -> Iterator[list[str]]:
    """Command lines of a document as words, and its Python as such a line, in their order."""
    text = path.read_text("utf-8")
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            yield ["python", "-c", block]
        else:
            lines = (line.split("#")[0] for line in block.splitlines())
            yield from (shlex.split(line) for line in lines if line.strip())


WITH_RAY = {"plan", "launch"}


def _typed(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and output; in this process what starts no Ray, so that imports are paid once."""
    if words[0] == "sweeper" and words[1] not in WITH_RAY:
        with redirect_stdout(StringIO()) as out:
            return run(words[1:]), out.getvalue()
    if words[0] == "sweeper":
        done = sweeper(*words[1:], cwd=folder)
    else:
        assert words[0] == "python"
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=folder,
            env=environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=HANG,
        )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its commands, in order, on smaller settings; the Python as well."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - environment().keys():
        monkeypatch.delenv(name)
    ran, shown = [], ""
    for words in _steps(ROOT / "docs" / "tutorial.md"):
        if words[1] == "dashboard":
            continue  # it serves until it is stopped
        words = [word.replace("replicates=6", "replicates=4") for word in words]
        code, said = _typed(words, tmp_path)
        # diff, as diff does, says by 1 that something differs.
        assert code == int(words[1] == "diff"), (words, said)
        if words[1] == "init":
            _smaller(tmp_path / "batch.yaml")
        ran.append(words[1])
        shown += said
    assert {"doctor", "init", "plan", "launch", "status", "report", "export", "best"} <= set(ran)
    assert ran.index("best") < ran.index("train") < ran.index("predict")
    assert (tmp_path / "batch.html").stat().st_size > 1_000_000
    assert (tmp_path / "classes.csv").read_text().count("\n") == 1 + 1797
    assert "params_train.batch_size" in shown


def test_what_the_readme_predicts_fits_the_model_of_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own example, after its own sweep's data and network, trained for an epoch."""
    monkeypatch.chdir(tmp_path)
    [example] = blocks(ROOT / "README.md", "yaml")
    told = spec.parse(example, "README.md", ["train.epochs=1", "train.width=0.5"])
    (tmp_path / "best.yaml").write_text(told.config_for({}).model_dump_json())
    steps = {words[1]: words for words in _steps(ROOT / "README.md")}
    for words in (steps["train"], steps["-c"], steps["predict"]):
        code, said = _typed(words, tmp_path)
        assert code == 0, (words, said)
    assert (tmp_path / "new-classes.csv").read_text().count("\n") == 1 + 1797

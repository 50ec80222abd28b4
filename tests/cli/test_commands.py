"""Each command does what its help describes, and ends with the documented exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import planted
import pytest
from command import TINY, environment, sweeper, sweeper_here
from mirrored import mirror
from patience import HANG

import sweeper as python
from sweeper import lookup
from sweeper.cli import app, inputs
from sweeper.cli.app import run
from sweeper.cli.doctor import ray_auth, version
from sweeper.errors import EngineError, HeldError, LeaseLost, SpecError, StoreError, SweeperError
from sweeper.store import Store
from sweeper.watch.listing import Listing

NAME = "batch-size-digits"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose database holds one planted sweep."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("SWEEPER_")]:
        monkeypatch.delenv(name)
    with Store.open("sqlite:///sweeper.db", create=True) as store:
        planted.fill(store, planted.plan(epochs=2, replicates=2))
    return tmp_path


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder in which `sweeper launch tiny.yaml` has been run, and what it printed."""
    folder = tmp_path_factory.mktemp("launched")
    (folder / "tiny.yaml").write_text(TINY)
    done = sweeper("launch", "tiny.yaml", "--yes", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.mark.slow
def test_launch_runs_everything_and_names_what_comes_next(
    launched: tuple[Path, str, str],
) -> None:
    """Progress goes to stderr; the end has the number of complete runs and how to see them."""
    _, out, err = launched
    assert out == ""
    assert "8 of 8 runs are complete" in err
    assert "report:    sweeper report tiny" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_launch_again_runs_nothing(launched: tuple[Path, str, str]) -> None:
    """The same spec again finds everything done; no attempt is added."""
    folder = launched[0]
    attempts = "SELECT count(*) FROM sweeper_attempt"
    with sqlite3.connect(folder / "sweeper.db") as connection:
        before = connection.execute(attempts).fetchone()
    done = sweeper_here("launch", "tiny.yaml", "--yes", cwd=folder)
    with sqlite3.connect(folder / "sweeper.db") as connection:
        assert connection.execute(attempts).fetchone() == before
    assert (done.returncode, "8 of 8 runs are complete" in done.stderr) == (0, True)


@pytest.mark.slow
def test_a_launched_sweep_is_reported_and_exported(launched: tuple[Path, str, str]) -> None:
    """Paths go to stdout and to nothing else, so that a script can take them."""
    folder = launched[0]
    report = sweeper_here("report", "--out", "r.html", cwd=folder)
    assert (report.returncode, report.stdout) == (0, "r.html\n")
    assert "Does the batch size matter?" in (folder / "r.html").read_text()
    export = sweeper_here("export", "--out", "tables", cwd=folder)
    assert export.returncode == 0
    assert all((folder / path).is_file() for path in export.stdout.split())


@pytest.mark.slow
def test_plan_prices_without_storing(tmp_path: Path) -> None:
    """Cells, runs and packs, a price with its uncertainty, and no file."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = sweeper("plan", "tiny.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["version"], found["kind"], found["name"]) == (1, "plan", "tiny")
    assert (found["cells"], found["tuning_cells"], found["runs"], found["packs"]) == (4, 0, 8, 4)
    assert 0 < found["low"] < found["seconds"] < found["high"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_status_tells_scripts_and_people_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has a version and the counts; the table shows them."""
    assert run(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["kind"]) == (1, "status")
    [sweep] = found["sweeps"]
    assert (sweep["name"], sweep["cells"]) == (NAME, {"report": 8})
    assert sweep["runs"] == {
        "pending": 0,
        "running": 0,
        "complete": 16,
        "pruned": 0,
        "failed": 0,
    }
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert NAME in out
    assert "16 of 16" in out


def test_status_of_a_sweep_that_is_too_large_says_where_its_answer_is(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts are the same, and nothing is missing from the JSON; the statistics do not run."""
    assert run(["status", "--json"]) == 0
    [before] = json.loads(capsys.readouterr().out)["sweeps"]
    assert (bool(before["answer"]), before["untold"]) == (True, "")
    monkeypatch.setattr("sweeper.status.MOST_RUNS", 15)
    assert run(["status", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["sweeps"]
    assert found.keys() == before.keys()
    assert {key for key in found if found[key] != before[key]} <= {"answer", "best", "untold"}
    assert (found["answer"], found["best"], found["seconds_left"]) == ("", "", None)
    assert run(["status"]) == 0
    said = "16 runs are too many to say the answer here; `sweeper report batch-size-digits` has it"
    assert said in capsys.readouterr().out
    assert python.open(NAME, storage="sqlite:///sweeper.db").status["untold"] == said
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        [[line], _] = Listing(store).page()
    assert line.answer == said


def test_a_held_sweep_is_named_with_its_holder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5: host and process of the driver that has it."""
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        sweep = store.sweep(NAME)
        assert sweep is not None
        store.acquire(sweep.id, {"host": "elsewhere", "pid": 4242})
    assert run(["retry"]) == 5
    err = capsys.readouterr().err
    assert "elsewhere" in err
    assert "4242" in err


def test_retry_sets_failed_runs_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that ended for the named reason; the lease is given back."""
    from sweeper.states import Ending

    monkeypatch.chdir(tmp_path)
    failures = {(0, 0): (Ending.OUT_OF_MEMORY, "x"), (1, 0): (Ending.DIVERGED, "y")}
    with Store.open("sqlite:///sweeper.db", create=True) as store:
        planted.fill(store, planted.plan(epochs=2, replicates=2, failures=failures))
    for hours in ("0", "-1", "nan", "inf"):
        assert run(["retry", "--hours", hours]) == 2
    assert run(["retry", "--hours", "1", "--reason", "out_of_memory"]) == 0
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        [sweep] = store.sweeps()
        counts = store.counts(sweep.id)
        assert sweep.holder is None
    assert {str(state): n for state, n in counts.items() if n} == {
        "complete": 14,
        "failed": 1,
        "pending": 1,
    }


def test_a_run_cannot_have_failed_for_every_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A complete run is none to try again, nor are those that are tried again anyway."""
    for reason in ("complete", "pruned", "node_lost"):
        assert run(["retry", "--reason", reason]) == 2
        assert "valid: bad_config, crashed, diverged" in capsys.readouterr().err


def test_an_empty_database_says_how_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not an empty table, and not the words of a database that lacks a table."""
    monkeypatch.chdir(tmp_path)
    Store.open("sqlite:///sweeper.db", create=True).close()
    line = "the database holds no sweep yet; start one with: sweeper launch SPEC"
    assert run(["status"]) == 0
    assert capsys.readouterr() == ("", f"{line}\n")
    for command in (["report"], ["export"], ["retry"], ["dashboard", "--port", "0"]):
        assert run(command) == 2
        assert capsys.readouterr() == ("", f"sweeper: {line}\n")


def test_init_writes_a_spec_that_loads_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the file is called, digits and YAML words included; comments are kept."""
    from sweeper.spec import load

    monkeypatch.chdir(tmp_path)
    for stem in ("mine", "010", "on"):
        assert run(["init", f"{stem}.yaml", "--space", "width"]) == 0
        assert load(f"{stem}.yaml").name == stem
    assert "mine.yaml" in capsys.readouterr().out
    assert "# " in (tmp_path / "mine.yaml").read_text()


def test_spaces_lists_every_shipped_file_with_its_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Name, question, cells and runs; every shipped spec loads."""
    assert run(["spaces", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["spaces"]
    assert [one["name"] for one in found] == sorted(lookup.shipped())
    assert all(one["question"] and one["cells"] > 1 and one["runs"] > 1 for one in found)
    assert run(["spaces"]) == 0
    out = capsys.readouterr().out
    assert all(one["question"].split("?")[0][:40] in out for one in found)


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """An editor can load it."""
    assert run(["schema"]) == 0
    assert "scientific" in json.loads(capsys.readouterr().out)["properties"]


def test_doctor_looks_at_everything_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python, floors, processor, token, disk and database; exit 0 where nothing is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert run(["doctor", "--json"]) == 0
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {"python", "ray", "torch", "gpu", "ray auth", "disk", "database"} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_doctor_knows_versions_with_holes_and_open_clusters(tmp_path: Path) -> None:
    """Below a floor, not installed, without a token, or with a token that all can read."""
    assert version("pip", (1, 0)).state == "ok"
    assert version("pip", (9999, 0)).state == "wrong"
    assert "not installed" in version("no-such-package", (1, 0)).text
    assert ray_auth({"RAY_AUTH_MODE": "disabled"}).state == "wrong"
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(0o644)
    assert ray_auth({"RAY_AUTH_TOKEN_PATH": str(token)}).state == "note"
    token.chmod(0o600)
    assert ray_auth({"RAY_AUTH_TOKEN_PATH": str(token)}).state == "ok"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("x"), 2),
        (StoreError("x"), 2),
        (SweeperError("x"), 1),
        (EngineError("x"), 1),
        (HeldError("x"), 5),
        (LeaseLost("x"), 5),
        (KeyboardInterrupt(), 130),
        (RuntimeError("two\nlines"), 1),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The codes are promised in docs/reliability.md; each line of the message begins alike."""

    def fail() -> dict[str, Path]:
        raise error

    monkeypatch.delenv("SWEEPER_DEBUG", raising=False)
    monkeypatch.setattr(lookup, "shipped", fail)
    assert run(["spaces"]) == code
    err = capsys.readouterr().err
    assert all(line.startswith("sweeper: ") for line in err.splitlines())


def test_debug_shows_where_our_own_fault_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """SWEEPER_DEBUG=1 lets the exception through."""
    monkeypatch.setenv("SWEEPER_DEBUG", "1")
    monkeypatch.setattr(lookup, "shipped", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["spaces"])


def test_the_next_commands_name_the_database_unless_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is printed can be pasted; a password is not printed."""
    monkeypatch.delenv("SWEEPER_STORAGE", raising=False)
    assert inputs.next_commands("a b", "sqlite:///sweeper.db")[0].endswith("sweeper report 'a b'")
    [report, _] = inputs.next_commands("a", "sqlite:///x y.db")
    assert report.endswith("sweeper report a --storage 'sqlite:///x y.db'")
    for url in ("postgresql://u:secret@h/d", "postgresql://u@h/d?sslmode=off&password=secret"):
        assert "secret" not in str(inputs.next_commands("a", url))


def test_a_database_that_optuna_has_not_seen_is_not_served(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is promised that is not there: no address is printed."""
    assert run(["dashboard", "--port", "0"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no Optuna study to show" in err


@pytest.fixture
def dashboard(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`sweeper dashboard` on a free port, and its address."""
    mirror("sqlite:///sweeper.db")
    code = "from sweeper.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "dashboard", "--port", "0"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    yield process, address
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_dashboard_serves_until_it_is_interrupted(
    dashboard: tuple[subprocess.Popen[str], str],
) -> None:
    """It prints its address, answers there, and ends with 0 on Ctrl-C."""
    process, address = dashboard
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{address}/api/studies", timeout=HANG) as answer:  # noqa: S310
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=HANG) == 0


def test_main_is_the_console_script() -> None:
    """`sweeper` on the path and `main` are the same."""
    from importlib.metadata import entry_points

    [script] = [one for one in entry_points(group="console_scripts") if one.name == "sweeper"]
    assert script.load() is app.main


def test_loopback_is_what_the_socket_says() -> None:
    """A listening socket of the dashboard cannot be reached from elsewhere."""
    from sweeper.dashboard import listen

    with listen("localhost", 0) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == "127.0.0.1"

"""`-v` and `--log-file`: what is logged, where, and that no secret is."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from sweeper.cli import app as command
from sweeper.cli import logs
from sweeper.cli.app import run
from sweeper.cli.masking import masked
from sweeper.cli.options import general_first
from sweeper.engine.progress import Probing, Progress
from sweeper.states import RunState

SECRET = "hunter2" * 2
URL = f"postgresql://me:{SECRET}@db.example/x"


def fails(text: str) -> object:
    def command(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    return command


def lines(path: Path) -> list[str]:
    """The lines of a log without their times, each of which has the form of one."""
    found = path.read_text("utf-8").splitlines()
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in found]


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_log_file_has_the_command_and_what_it_shows(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options stand before or after the command; a second command adds to the file."""
    path = tmp_path / "a.log"
    option, words = ["--log-file", str(path)], ["init", str(tmp_path / "a.yaml")]
    assert run([*option, *words] if place == "before" else [*words, *option]) == 0
    assert "next: sweeper plan" in capsys.readouterr().err
    first = lines(path)
    assert first[0].startswith("INFO    sweeper.cli: sweeper ")
    assert first[-1] == f"INFO    sweeper.shown: next: sweeper plan {tmp_path / 'a.yaml'}"
    assert run([*option, "spaces", "--json"]) == 0
    assert lines(path)[: len(first)] == first


def test_an_error_names_the_log_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is in it too."""
    path = tmp_path / "a.log"
    assert run(["plan", "nothing.yaml", f"--log-file={path}"]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1] == f"log:       {path}"
    assert any("no such file" in line and "WARNING" in line for line in lines(path))


def test_an_internal_error_leaves_its_traceback_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a secret: neither that of an address nor that of the environment."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET[::-1])
    monkeypatch.setattr(command.lookup, "shipped", fails(f"{URL} and {SECRET[::-1]}"))
    path = tmp_path / "a.log"
    assert run(["spaces", "--log-file", str(path), "-v"]) == 1
    text = path.read_text("utf-8")
    assert "Traceback (most recent call last)" in text
    assert "RuntimeError: postgresql://me:***@db.example/x and ***" in text
    assert SECRET not in text
    assert SECRET[::-1] not in text
    assert "Traceback" in capsys.readouterr().err


def test_verbose_shows_the_log_and_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stderr has anyway is not shown again; without -v there is no log on it."""
    for extra in ([], ["-v"]):
        assert run(["init", str(tmp_path / "a.yaml"), "--force", *extra]) == 0
        shown = capsys.readouterr().err
        assert shown.count("next: sweeper plan") == 1
        assert ("INFO    sweeper.cli: command: " in shown) == bool(extra)


def test_a_log_file_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is created."""
    path = tmp_path / "none" / "a.log"
    assert run(["init", str(tmp_path / "a.yaml"), "--log-file", str(path)]) == 2
    assert f"--log-file {path}: cannot be written: No such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_log_and_not_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is printed once."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    assert run(["init", str(tmp_path / "a.yaml"), "--log-file", "/dev/full"]) == 0
    assert capsys.readouterr().err.count("/dev/full: cannot be written; the log ends here") == 1


def test_no_log_outlives_its_command(tmp_path: Path) -> None:
    """A notebook that runs two commands has two logs."""
    for name in ("a", "b"):
        assert run(["spaces", "--json", "--log-file", str(tmp_path / f"{name}.log")]) == 0
    assert len(lines(tmp_path / "a.log")) == len(lines(tmp_path / "b.log"))
    assert all(not logging.getLogger(name).handlers for name in logs.LOGGED)


def test_a_launch_logs_progress_only_where_more_runs_have_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A large sweep reports thousands of times; each report is still shown."""
    shown: list[object] = []
    watched = logs.Watched(shown.append)
    caplog.set_level(logging.INFO, "sweeper.shown")
    events = ["starts", Probing(done=1, total=2, now=()), *(progress(n) for n in (0, 0, 1, 1))]
    for event in events:
        watched(event)
    assert shown == events
    logged = [record.getMessage() for record in caplog.records]
    assert logged[:2] == ["starts", "timed 1 of 2 kinds of runs"]
    assert [text.split(",")[0] for text in logged[2:]] == [f"{n} of 9 runs done" for n in (0, 1)]


def progress(complete: int) -> Progress:
    runs = {RunState.COMPLETE: complete, RunState.PENDING: 9 - complete}
    return Progress(
        cells=3,
        cells_done=0,
        runs=runs,
        packs=1,
        best="",
        eta_seconds=None,
        eta_low=None,
        eta_high=None,
    )


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        (["launch", "a", "-v"], ["-v", "launch", "a"]),
        (["launch", "--log-file", "x", "a"], ["--log-file", "x", "launch", "a"]),
        (["launch", "--log-file=x", "a"], ["--log-file=x", "launch", "a"]),
        (["plan", "--", "-v"], ["plan", "--", "-v"]),
        (["plan", "--log-file"], ["--log-file", "plan"]),
    ],
)
def test_general_options_may_follow_the_command(words: list[str], ordered: list[str]) -> None:
    """People add -v to the line that has just failed."""
    assert general_first(words) == ordered


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pw@h/x", "postgresql://me:***@h/x"),
        ("postgresql://h/x?user=me&password=pw&a=1", "postgresql://h/x?user=me&password=***&a=1"),
        ("s3://key:word@bucket/folder fails", "s3://key:***@bucket/folder fails"),
        ("https://h/x: no password", "https://h/x: no password"),
        ("http://127.0.0.1:8080/a@b", "http://127.0.0.1:8080/a@b"),
        ("token abcdef123 leaks", "token *** leaks"),
    ],
)
def test_passwords_and_tokens_are_hidden(text: str, shown: str) -> None:
    """Wherever they stand in a text."""
    assert masked(text, {"RAY_AUTH_TOKEN": "abcdef123", "PGPASSWORD": "a"}) == shown


@pytest.mark.parametrize("form", ["--notify {}", "--notify={}", "--notify '{}'"])
def test_an_address_for_messages_is_masked(form: str) -> None:
    """All but its scheme and host, wherever a command is logged."""
    web = form.format("https://hooks.example.org/T0/SECRET?x=SECRET")
    other = form.format("slack://SECRET/SECRET")
    assert "SECRET" not in masked(f"sweeper serve {web} --port 0", {})
    assert "hooks.example.org***" in masked(web, {})
    assert "SECRET" not in masked(other, {})
    assert masked("--notify-host hooks.example.org", {}) == "--notify-host hooks.example.org"


def test_a_log_of_json_has_an_object_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr and in the file, and stderr has nothing else; results stay on stdout."""
    path = tmp_path / "a.log"
    words = ["init", str(tmp_path / "a.yaml"), "--log-format", "json", "--log-file", str(path)]
    assert run(words) == 0
    found = capsys.readouterr()
    shown = [json.loads(line) for line in found.err.splitlines()]
    assert found.out == f"{tmp_path / 'a.yaml'}\n"
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == shown
    assert {"time", "level", "logger", "message"} == set(shown[0])
    assert shown[-1]["message"] == f"next: sweeper plan {tmp_path / 'a.yaml'}"
    assert run(["plan", "nothing.yaml", "--log-format=json"]) == 2
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["level"], "no such file" in last["message"]) == ("warning", True)
    assert run(["spaces", "--log-format", "jsno"]) == 2
    assert "--log-format: 'jsno' is not known; did you mean 'json'" in capsys.readouterr().err


def test_a_line_of_json_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Sweep, run and attempt; a traceback is a field, and secrets are hidden."""
    with logs.ending():
        logs.begin(verbose=False, file=None, form="json")
        logs.about(sweep="digits")
        engine = logging.getLogger("sweeper.engine.conductor")
        engine.info("run %d ended: %s", 5, URL, extra={"run": 5, "attempt": 17, "secret": SECRET})
        engine.debug("not shown without --verbose")
        try:
            raise ValueError(URL)
        except ValueError:
            logs.traceback()
        logs.say("other: driver 1 starts", sweep="other")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["sweep"], first["run"], first["attempt"]) == ("digits", 5, 17)
    assert first["message"] == "run 5 ended: postgresql://me:***@db.example/x"
    assert "ValueError: postgresql://me:***@" in second["error"]
    assert third["sweep"] == "other"
    assert SECRET not in f"{first}{second}"
    with logs.ending():
        logs.begin(verbose=False, file=None, form="json")
        logs.say("later")
    assert "sweep" not in json.loads(capsys.readouterr().err)

"""Limits of owners through the API and the command line: set, met, shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asking import HOST, ask
from command import TINY
from sites import Site
from store_samples import HOLDER, planned

from sweeper.cli import app, remote
from sweeper.errors import SpecError
from sweeper.service.client import Service
from sweeper.states import Ending
from sweeper.store.leading import Leading
from sweeper.store.service_records import Verb


class Asking(Service):
    """A client whose requests stay in this process."""

    def __init__(self, app: Any, token: str) -> None:
        super().__init__(f"http://{HOST}", token)
        self._app = app

    def _text(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> str:
        route, _, query = f"/api/v1{path}".partition("?")
        headers = {"idempotency-key": key or uuid4().hex}
        answer = ask(
            self._app, method, route, body, token=self._token, query=query, headers=headers
        )
        if answer.status >= 400:
            raise SpecError(*answer.lines)
        return answer.body.decode()


class There(Site):
    """A service whose supervisor sells an hour for 2.50, and its users."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.leading = Leading(self.store.database)
        self.lead = self.leading.take({**HOLDER, "room": [8.0, 0.0], "price": 2.5})

    def user(self, owner: str) -> Asking:
        return Asking(self.app, self.tokens[owner])

    def use(self, hours: float) -> None:
        self.leading.record(self.lead, usage={"ann": 3600 * hours}, price=2.5)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    found = There(tmp_path)
    yield found
    found.store.close()


def known_pace(there: There, seconds: float) -> None:
    """An earlier sweep whose epochs took so long each."""
    plan = planned(there.store)
    spec = {"data": {"dataset": "digits"}, "train": {"model": "resnet"}}
    there.store.update_sweep(plan.lease, spec=spec)
    plan.begin(plan.run_ids[:1])
    plan.record(plan.report(plan.run_ids[0], epoch=4, seconds=4 * seconds, ending=Ending.COMPLETE))


def test_what_is_left_is_told_and_more_is_refused(there: There) -> None:
    """At the submission, in one line; a sweep that fits is accepted, with its price."""
    root, ann = there.user("root"), there.user("ann")
    known_pace(there, 450.0)
    root.set_owner("ann", {"most_hours": 10, "most_workers": 2, "most_sweeps": 1})
    one = ann.submit(TINY, set=["train.epochs=4", "resources.workers=4"])
    assert (one["hours"], one["money"]) == (4.0, 10.0)
    assert one["limits"] == ["workers: 2 at a time instead of 4, for ann"]
    there.use(3.0)
    assert ann.me()["left"] == {"hours": 7.0}
    assert ann.me()["used"] == {"hours": 3.0, "money": 7.5}
    other = TINY.replace("name: tiny", "name: other")
    with pytest.raises(Exception, match="about 4 hours needed, 4 planned for others, 7 left"):
        ann.submit(other, set=["train.epochs=4"])
    dry = ann.submit(other, set=["train.epochs=3"], dry_run=True)
    assert dry["limits"] == ["sweeps: 1 of ann at a time; this one waits for another"]
    capped = ann.submit(other, set=["train.epochs=4", "limits.hours=0.25"], dry_run=True)
    assert capped["hours"] == 0.25
    there.use(7.0)
    for command in (lambda: ann.retry("tiny"), lambda: ann.extend("tiny", set=["replicates=9"])):
        with pytest.raises(Exception, match=r"ann has used 10\.0 of 10 hours; an adm"):
            command()
    ann.stop("tiny")
    assert [it.verb for it in there.wishes.commands("tiny")] == [Verb.STOP]


def test_the_same_submission_again_meets_no_limit(there: There) -> None:
    """It was accepted; a network that repeats it gets the same answer."""
    root, ann = there.user("root"), there.user("ann")
    assert ann.submit(TINY, key="k")["new"]
    there.use(1.0)
    root.set_owner("ann", {"most_hours": 0.5})
    assert not ann.submit(TINY, key="k")["new"]
    with pytest.raises(SpecError, match="ann has used 1"):
        ann.submit(TINY.replace("name: tiny", "name: other"), key="l")


def test_limits_on_the_command_line(
    there: There, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An administrator sets some and keeps the others; an owner sees what is left."""
    root, ann = there.user("root"), there.user("ann")

    def said(who: Asking, *words: str) -> tuple[int, str]:
        monkeypatch.setattr(remote, "_service", lambda url: who)
        code, found = app.run(["limits", *words]), capsys.readouterr()
        return code, re.sub(r"^sweeper: ", "", found.out + found.err)

    assert said(ann) == (0, "ann: no limits, nothing used\n")
    there.use(1.5)
    assert said(ann) == (0, "ann: 1.50 hours used, no limit\nann: 3.75 money used, no limit\n")
    assert said(root, "ann", "--set", "most_hours=6", "--set", "most_sweeps=2")[0] == 0
    told = "ann: at most 2 sweeps at a time\nann: 1.50 of 6 hours used, 4.50 left\n"
    assert said(root, "ann", "--set", "most_money=5") == (
        0, f"{told}ann: 3.75 of 5 money used, 1.25 left\n"
    )  # fmt: skip
    assert said(root, "ann", "--set", "most_money=none")[1].startswith(told)
    assert said(ann, "--set", "most_hours=9")[1].startswith("OWNER: name whose limits")
    assert said(root, "ann", "--set", "most_hour=9")[1].startswith(
        "most_hour: no such limit; did you mean"
    )
    code, line = said(ann, "ann", "--set", "most_hours=9")
    assert (code, line.startswith("your token's role is submitter")) == (2, True)

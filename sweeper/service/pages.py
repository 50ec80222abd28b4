"""The pages of the service that change something, as HTML: forms that need no script.

They have the look of the live pages and load their files alone; nothing on them is inline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import uuid4

from jinja2 import Environment, PackageLoader, StrictUndefined

from sweeper.analysis.wording import duration
from sweeper.service.access import Access
from sweeper.states import FAILURES
from sweeper.store.service_records import Priority, Role, State, Verb, WantedState
from sweeper.watch.pages import moment, version

CLONE, LINK, REVOKE = "clone", "link", "revoke"
ROWS = 200  # of the queue, on one page
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Under `no-referrer` a browser would send a form with `Origin: null`, as a foreign page does.
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
TONES = {
    State.COMPLETE: "better", State.RUNNING: "better", State.STOPPING: "doubt",
    State.FAILURES: "doubt", State.HALTED: "worse", State.ATTENTION: "worse",
}  # fmt: skip


@dataclass(frozen=True)
class Action:
    """What may be done with a sweep.

    Attributes:
        button: what the button says.
        meaning: what happens then.
        fields: what the form asks for.
        hard: it cannot be undone.
    """

    button: str
    meaning: str
    fields: tuple[str, ...] = ("why",)
    hard: bool = False


ACTIONS: dict[str, Action] = {
    Verb.STOP: Action("Stop", "The sweep ends after its current round. Resume continues it."),
    Verb.RESUME: Action("Resume", "The sweep gets its place in the queue again and goes on."),
    Verb.RETRY: Action(
        "Retry failed runs",
        "Failed runs are tried again: all, or those that failed for some reasons or lately.",
        ("reasons", "hours", "why"),
    ),
    Verb.EXTEND: Action(
        "Extend",
        "Values of the spec are changed. What is recorded stays, and only what is missing runs.",
        ("set", "why"),
    ),
    Verb.PRIORITY: Action(
        "Change priority",
        "A sweep of a higher class gets workers before every sweep of a lower one.",
        ("priority", "why"),
    ),
    CLONE: Action(
        "Copy with changes",
        "A new sweep, which is yours, with the spec of this one and your changes.",
        ("name", "set", "priority"),
    ),
    LINK: Action(
        "Share by a link",
        "Whoever has the link sees this sweep's page, without a token, until the link expires. "
        "The page does not name machines then.",
        ("days", "label"),
    ),
    Verb.CANCEL: Action(
        "End for ever", "The sweep ends for ever. What is recorded stays.", ("why",), hard=True
    ),
    REVOKE: Action("Revoke", "Whoever has the link sees nothing from now on.", (), hard=True),
}


def offered(found: Mapping[str, Any], who: Access) -> list[str]:
    """The actions that this reader may take, and that make sense now.

    Args:
        found: what `Desk.show` answers.
    """
    row, sweep = found["submission"], found["sweep"]
    if not who.role.allows(Role.SUBMITTER):
        return []
    mine = who.may_command_all or (row is not None and row["owner"] == who.owner)
    if row is None:
        running = sweep is not None and sweep["state"] == "running"
        return [*([Verb.STOP] if mine and running else []), *([LINK] if mine else [])]
    commands = list(_commands(row, sweep)) if mine else []
    last = [one for one in commands if ACTIONS[one].hard]
    first = [one for one in commands if one not in last]
    return [*first, CLONE, *([LINK] if mine else []), *last]


def _commands(row: Mapping[str, Any], sweep: Mapping[str, Any] | None) -> Iterable[Verb]:
    state, wanted = State(row["state"]), WantedState(row["wanted"])
    if wanted is WantedState.CANCELLED:
        return
    going = state in (State.QUEUED, State.RUNNING)
    if going and wanted is WantedState.RUNNING:
        yield Verb.STOP
    if wanted is WantedState.STOPPED or state in (State.STOPPED, State.HALTED, State.ATTENTION):
        yield Verb.RESUME
    if not going and sweep and sweep["runs"].get("failed"):
        yield Verb.RETRY
    yield Verb.EXTEND
    ended = state in (State.COMPLETE, State.FAILURES)
    if not ended:
        yield Verb.PRIORITY
        yield Verb.CANCEL


def overview(
    found: Mapping[str, Any], who: Access, links: Sequence[Mapping[str, Any]], *, made: str = ""
) -> str:
    """What may be done with a sweep, and what was done.

    Args:
        links: to the sweep, if this reader may see them.
        made: a new link, which is shown now and never again.
    """
    return _page(
        "actions.html",
        who,
        found=found,
        row=found["submission"],
        actions={one: ACTIONS[one] for one in offered(found, who)},
        links=links,
        made=made,
    )


def form(
    name: str,
    verb: str,
    who: Access,
    *,
    row: Mapping[str, Any] | None,
    given: Mapping[str, Sequence[str]],
    lines: Sequence[str] = (),
) -> str:
    """The question whether something should be done.

    Args:
        given: the values of the form, as they were sent before or as the address has them.
        lines: what was wrong with them.
    """
    return _page(
        "form.html",
        who,
        name=name,
        verb=verb,
        action=ACTIONS[verb],
        row=row,
        given=given,
        lines=lines,
        proof=who.proof(f"{verb} {name}"),
        key=uuid4().hex,
        classes=list(Priority),
        failures=sorted(FAILURES),
    )


def queue(found: Mapping[str, Any], who: Access, *, me: Mapping[str, Any], skip: int) -> str:
    """All submissions: state, place, what each waits for; and what the reader has left.

    Args:
        me: what `Desk.me` answers.
    """
    return _page("queue.html", who, found=found, left=_left(me), skip=skip, most=ROWS)


def _left(me: Mapping[str, Any]) -> str:
    """A sentence on what is left of the limits of an owner; empty without a limit of use."""
    parts = [
        f"{left:.2f} of {me['limits'][f'most_{word}']:g} {word}"
        for word, left in me["left"].items()
    ]
    if not parts:
        return ""
    ends = "" if all(me["left"].values()) else "; nothing starts until an administrator raises it"
    return f"{me['owner']} has {' and '.join(parts)} left{ends}."


def refused(who: Access, lines: Sequence[str]) -> str:
    """What could not be done, and why."""
    return _page("refused.html", who, lines=lines)


def _page(template: str, who: Access, **values: Any) -> str:
    return _environment().get_template(template).render(who=who, version=version(), **values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sweeper.service"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"moment": moment, "day": _day, "duration": duration}
    made.globals["tones"] = TONES
    return made


def _day(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S")

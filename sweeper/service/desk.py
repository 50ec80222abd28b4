"""What the API does, without HTTP: checks what was sent, writes wishes, reads facts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from typing import Any

from sweeper.errors import InputError, nearest
from sweeper.service import access, bodies
from sweeper.service.access import Access
from sweeper.service.board import Board
from sweeper.service.checking import Checked, Checker
from sweeper.service.drivers import ServiceFolder
from sweeper.service.fair import FairPolicy, Supply
from sweeper.service.limits import LIMITS, Allowance, limit
from sweeper.service.receivers import AllowedHosts, masked
from sweeper.store import Store
from sweeper.store.accounts import Accounts
from sweeper.store.outbox import RECEIVED, Outbox
from sweeper.store.service_records import (
    Needs,
    NewSubmission,
    Owner,
    Role,
    State,
    Submission,
    Token,
    Usage,
    Verb,
    WantedState,
)
from sweeper.store.wishes import Wishes, merged

LOG_BYTES = 65_536
MOST_ROWS = 1000  # of one answer


class Forbidden(InputError):
    """The token's owner may not do this."""


class Unknown(InputError):
    """There is nothing of that name."""


class Desk:
    """One for all requests; its methods may be called from any thread.

    Args:
        metrics: the text for Prometheus.
    """

    def __init__(
        self,
        store: Store,
        *,
        checker: Checker,
        folder: ServiceFolder,
        policy: FairPolicy | None = None,
        allowed: AllowedHosts | None = None,
        metrics: Callable[[], str] | None = None,
    ) -> None:
        self._allowed, self._metrics = allowed or AllowedHosts(), metrics
        self._store, self._wishes = store, Wishes(store.database)
        self._accounts = Accounts(store.database)
        self._checker, self._folder, self._policy = checker, folder, policy or FairPolicy()

    def known(self, text: str) -> Access | None:
        """What a token allows; None if it is not valid."""
        return access.access(self._accounts, text)

    # --- reading

    def me(self, who: Access) -> dict[str, Any]:
        """Who asks, with the owner's limits and what is left of them."""
        shown = self._allowance(who.owner).shown()
        return {"owner": who.owner, "role": str(who.role), "token": who.token, **shown}

    def queue(self, words: Mapping[str, str]) -> dict[str, Any]:
        """The sweeps that were submitted, `most` of them after `skip`, and those of terminals."""
        skip, most = bodies.number(words, "skip", 0), bodies.number(words, "most", MOST_ROWS)
        board = self._board()
        rows, submitted = board.rows(skip=skip, most=min(most, MOST_ROWS)), board.names
        plain = [
            {"name": one.name, "owner": "", "state": one.state, "reason": one.state_reason}
            for one in self._store.sweeps()
            if one.name not in submitted
        ]
        return {
            "sweeps": rows,
            "total": len(submitted),
            "launched": plain,
            "supervisor": self._supervisor(),
        }

    def show(self, name: str) -> dict[str, Any]:
        """A sweep: its place in the queue, its runs, commands, latest events and messages."""
        one, sweep = self._wishes.submission(name), self._store.sweep(name)
        if one is None and sweep is None:
            raise self._unknown(name)
        found: dict[str, Any] = {"name": name, "submission": None, "sweep": None}
        if one is not None:
            drivers = [asdict(driver) for driver in self._wishes.drivers(one.id)]
            found["submission"] = self._row(name) | {
                "overrides": list(one.overrides),
                "notify": [masked(address) for address in one.notify],
                "drivers": [{k: v for k, v in one.items() if k != "holder"} for one in drivers],
            }
        if sweep is not None:
            counts = self._store.counts(sweep.id)
            found["sweep"] = {
                "state": sweep.state,
                "reason": sweep.state_reason,
                "runs": {str(state): number for state, number in counts.items()},
            }
        found["commands"] = [asdict(command) for command in self._wishes.commands(name)]
        found["events"] = [asdict(event) for event in self._wishes.events(name=name)]
        sent = Outbox(self._store.database).messages(name)
        found["messages"] = [
            {
                "event": one.body["event"],
                "tries": one.tries,
                "received": one.outcome == RECEIVED,
                "outcome": one.outcome or "waits to be sent",
                "done_at": one.done_at,
            }
            for one in sent
        ]
        return found

    def logs(self, name: str) -> str:
        """The end of the drivers' output."""
        return self._folder.tail(self._submission(name).id, most=LOG_BYTES)

    def report(self, name: str) -> str:
        """The report as a page."""
        from sweeper.analysis.frames import load
        from sweeper.report.page import html

        if self._store.sweep(name) is None:
            raise self._unknown(name)
        return html(load(self._store, name))

    def archive(self, who: Access, name: str) -> bytes:
        """Everything about a sweep, for its owner: it has paths and names of machines."""
        from sweeper.importing import whole

        self._owned(who, name)
        if self._store.sweep(name) is None:
            raise Unknown(f"sweep {name!r} has not started: there is nothing to archive yet")
        out = BytesIO()
        whole.write(self._store, name, out)
        return out.getvalue()

    def best(self, name: str) -> dict[str, Any]:
        """The configuration to use, and what it rests on."""
        from sweeper.analysis.frames import load
        from sweeper.analysis.view import view_of
        from sweeper.topics.recommendation import text
        from sweeper.topics.recommendation.estimate import recommend

        if self._store.sweep(name) is None:
            raise self._unknown(name)
        return text.document(recommend(view_of(load(self._store, name)), at={}))

    def events(self, who: Access, words: Mapping[str, str]) -> dict[str, Any]:
        """Events after a number, oldest first; those of no sweep are for administrators."""
        after = bodies.number(words, "after", 0)
        found = self._wishes.events(
            name=words.get("name"), after=after, sweeps_only=not who.may_command_all
        )
        return {"events": [asdict(event) for event in found]}

    def metrics(self) -> str:
        """The service in numbers, as Prometheus reads them."""
        if self._metrics is None:
            raise Unknown("this server has no metrics")
        return self._metrics()

    # --- wishes

    def submit(self, who: Access, body: Mapping[str, Any]) -> dict[str, Any]:
        """Checks a spec and adds it to the queue; with `dry_run` it only says what would be."""
        text, overrides = bodies.text(body, "spec"), bodies.texts(body, "set")
        receivers = self._allowed.receivers(bodies.texts(body, "notify"))
        checked = self._checker.check(text, overrides)
        new = NewSubmission(
            name=checked.name,
            owner=who.owner,
            spec_text=checked.text,
            overrides=tuple(merged((), overrides)),
            needs=self._estimated(checked),
            priority=bodies.priority(body),
            after=bodies.text(body, "after", ""),
            window=bodies.window(body),
            notify=tuple(one.address for one in receivers),
            key=bodies.key(body),
        )
        return self._submitted(who, new, checked, body)

    def _submitted(
        self,
        who: Access,
        new: NewSubmission,
        checked: Checked,
        body: Mapping[str, Any],
        like: str = "",
    ) -> dict[str, Any]:
        known = self._wishes.keyed(who.owner, new.key)
        limits = [] if known else self._remarks(who.owner, new.needs)
        told = {**_said(checked), "limits": limits}
        if body.get("dry_run"):
            return {"dry_run": True, **told, **self._foreseen(new)}
        one, fresh = self._wishes.submit(new, who=who.owner, adopt=who.may_command_all, like=like)
        return {"dry_run": False, "new": fresh, **told, **self._foreseen(one)}

    def command(
        self, who: Access, name: str, verb: Verb, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Adds a command, if the sweep belongs to the asking one or that one administrates."""
        one = self._owned(who, name)
        checked, given = None, dict[str, Any]()
        match verb:
            case Verb.PRIORITY:
                given = {"priority": str(bodies.priority(body, needed=True))}
            case Verb.RETRY:
                given = {"reasons": bodies.reasons(body), **bodies.lately(body)}
            case Verb.EXTEND:
                given = {"set": bodies.texts(body, "set", needed=True)}
                if one is None:
                    raise self._unknown(name)
                overrides = merged(one.overrides, given["set"])
                checked = self._checker.check(one.spec_text, overrides, stored=True)
                if checked.name != name:
                    raise InputError("set: name: a sweep keeps its name; submit another one")
            case _:
                pass
        if one is not None and verb in (Verb.RESUME, Verb.RETRY, Verb.EXTEND):
            self._allowance(one.owner).check(Needs())
        if body.get("dry_run"):
            return {"dry_run": True, **(_said(checked) if checked else {"name": name})}
        done = self._wishes.command(
            name,
            verb,
            who=who.owner,
            owner=None if who.may_command_all else who.owner,
            key=bodies.key(body),
            body=given,
            why=bodies.text(body, "why", ""),
            needs=self._estimated(checked) if checked else None,
        )
        return {"dry_run": False, "command": asdict(done)}

    def clone(self, who: Access, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submits a changed copy of a submitted sweep under another name, as the asking one's."""
        one = self._wishes.submission(name)
        if one is None:
            if self._store.sweep(name) is None:
                raise self._unknown(name)
            raise InputError(f"sweep {name!r} was not submitted: sweeper submit its spec")
        called = bodies.text(body, "name")
        overrides = merged(one.overrides, [*bodies.texts(body, "set"), f"name={called}"])
        checked = self._checker.check(one.spec_text, overrides, stored=True)
        new = NewSubmission(
            name=checked.name,
            owner=who.owner,
            spec_text=checked.text,
            overrides=tuple(overrides),
            needs=self._estimated(checked),
            priority=bodies.priority(body),
            key=bodies.key(body),
        )
        return self._submitted(who, new, checked, body, like=name)

    # --- links

    def links(self, who: Access, name: str) -> dict[str, Any]:
        """The links to a sweep's page, without their hashes."""
        self._owned(who, name)
        return {"links": [_shown(link) for link in self._accounts.tokens(sweep=name)]}

    def add_link(self, who: Access, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a link that shows a sweep's page until it expires; it is in this answer alone."""
        self._owned(who, name)
        text, link = access.new_token(
            self._accounts,
            label=bodies.text(body, "label", ""),
            owner=who.owner,
            role=Role.READER,
            days=bodies.days(body, needed=True),
            who=who.owner,
            sweep=name,
        )
        return {"path": f"/link/{text}", **_shown(link)}

    def revoke_link(self, who: Access, name: str, ident: str) -> dict[str, Any]:
        """Makes a link invalid."""
        self._owned(who, name)
        self._accounts.revoke(ident, who=who.owner, sweep=name)
        return {"revoked": ident}

    # --- administration

    def tokens(self) -> dict[str, Any]:
        """All tokens, without their hashes."""
        return {"tokens": [_shown(token) for token in self._accounts.tokens()]}

    def add_token(self, who: Access, body: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a token; its text is in the answer, and nowhere else."""
        role = bodies.text(body, "role")
        if role not in list(Role):
            raise InputError(f"role: {role!r} is not known{nearest(role, list(Role))}")
        text, token = access.new_token(
            self._accounts,
            label=bodies.text(body, "label", ""),
            owner=bodies.text(body, "owner"),
            role=Role(role),
            days=bodies.days(body),
            who=who.owner,
        )
        return {"token": text, "id": token.id, "owner": token.owner, "role": str(token.role)}

    def revoke(self, who: Access, ident: str) -> dict[str, Any]:
        """Makes a token invalid."""
        self._accounts.revoke(ident, who=who.owner)
        return {"revoked": ident}

    def owners(self) -> dict[str, Any]:
        """Shares, limits and usage."""
        usage, limits = self._wishes.usage(), self._accounts.owners()
        names = sorted(usage.keys() | limits.keys())
        return {"owners": {name: self._allowance(name, limits, usage).shown() for name in names}}

    def set_owner(self, who: Access, owner: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Sets an owner's share and limits."""
        given: dict[str, Any] = {}
        for name, value in body.items():
            if name == "key":
                continue  # the same limits again are the same
            if name not in LIMITS:
                raise InputError(f"{name}: no such limit{nearest(name, LIMITS)}")
            given[name] = limit(name, value)
        if given.get("weight", 1) is None:
            raise InputError("weight: null: a number above 0; 1 is the others'")
        self._accounts.set_owner(Owner(owner=owner, **given), who=who.owner)
        return {"owner": owner, **given}

    # --- parts of answers

    def _allowance(
        self,
        owner: str,
        limits: Mapping[str, Owner] | None = None,
        usage: Mapping[str, Usage] | None = None,
    ) -> Allowance:
        limits = self._accounts.owners() if limits is None else limits
        usage = self._wishes.usage() if usage is None else usage
        leader = self._wishes.leader()
        price = float(leader["holder"].get("price", 0.0)) if leader else 0.0
        return Allowance(owner=owner, limits=limits.get(owner), used=usage.get(owner), price=price)

    def _remarks(self, owner: str, needs: Needs) -> list[str]:
        """What the owner's limits mean for a submission."""
        allowance = self._allowance(owner)
        if allowance.limits is None:
            return []
        board = self._board()
        return allowance.remarks(
            needs, running=board.unsettled(owner), planned_s=board.planned_s(owner)
        )

    def _board(self, extra: Sequence[Mapping[str, Any]] = ()) -> Board:
        wishes, leader = self._wishes, self._wishes.leader()
        room = leader["holder"].get("room") if leader else None
        return Board(
            [*wishes.listing(), *extra],
            wishes.usage(),
            now=wishes.now(),
            room=Supply(*room) if room else None,
            policy=self._policy,
            owners=self._accounts.owners(),
        )

    def _foreseen(self, new: NewSubmission) -> dict[str, Any]:
        """Where a submission stands in the queue, or would stand."""
        if isinstance(new, Submission):
            row = self._row(new.name)
        else:
            would = {
                **{name: getattr(new, name) for name in ("name", "owner", "priority", "after")},
                "needs": json.dumps(asdict(new.needs)),
                "window": json.dumps(new.window),
                "wanted": WantedState.RUNNING,
                "generation": 1,
                "created_at": self._wishes.now(),
                **dict.fromkeys(("state", "reason", "settled", "workers", "since")),
            }
            row = self._board([would]).row(would)
        names = ("state", "position", "starts_in_s", "priority", "generation")
        hours = new.needs.seconds * new.needs.cost / 3600 or None
        price = self._allowance(new.owner).price
        money = hours * price if hours and price else None
        return {**{name: row[name] for name in names}, "hours": hours, "money": money}

    def _row(self, name: str) -> dict[str, Any]:
        """A submission; the whole queue is read only if its place there is asked for."""
        [one] = self._wishes.listing(name)
        waits = one["state"] in (None, State.QUEUED)
        return (self._board() if waits else Board([], {}, now=0.0, room=None)).row(one)

    def _estimated(self, checked: Checked) -> Needs:
        """What a sweep takes, with the time of its runs as earlier sweeps took it.

        The latest sweep of the same data and network counts; else of the same data, else any.
        """
        best, pace = -1, 0.0
        for spec, seconds in self._store.paces():
            same = 2 * ((spec.get("data") or {}).get("dataset") == checked.dataset)
            same += (spec.get("train") or {}).get("model") == checked.model
            if same > best:
                best, pace = same, seconds
        seconds = pace * checked.epochs * checked.runs
        if checked.hours is not None:
            seconds = min(seconds, checked.hours * 3600 * (checked.needs.workers or checked.runs))
        return replace(checked.needs, seconds=seconds)

    def _supervisor(self) -> dict[str, Any] | None:
        leader = self._wishes.leader()
        return None if leader is None else {"leads": leader["leads"], "beat_age_s": leader["age"]}

    def _owned(self, who: Access, name: str) -> Submission | None:
        """The submission of a sweep that the asking one may change; None: of a terminal.

        Raises:
            Unknown: there is no such sweep.
            Forbidden: it is another owner's.
        """
        one = self._wishes.submission(name)
        if one is None and self._store.sweep(name) is None:
            raise self._unknown(name)
        if not who.may_command_all and (one is None or one.owner != who.owner):
            raise Forbidden(f"sweep {name!r} is not yours; its owner or an administrator may do it")
        return one

    def _submission(self, name: str) -> Submission:
        one = self._wishes.submission(name)
        if one is None:
            raise self._unknown(name)
        return one

    def _unknown(self, name: str) -> Unknown:
        names = {*self._wishes.latest(MOST_ROWS)}
        names |= {one.name for one in self._store.sweeps()[-MOST_ROWS:]}
        return Unknown(f"no sweep named {name!r}{nearest(name, names)}")


def _shown(token: Token) -> dict[str, Any]:
    """A token or a link, without its hash."""
    return {name: value for name, value in asdict(token).items() if name != "hash"}


def _said(checked: Checked) -> dict[str, Any]:
    """What an answer says of a spec."""
    return {
        "name": checked.name,
        "cells": checked.cells,
        "runs": checked.runs,
        "warnings": list(checked.warnings),
    }

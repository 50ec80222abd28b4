"""Sends the messages of the outbox, each until its receiver has it, and never as another one.

A message is claimed before it is sent, and its outcome recorded afterwards. A sender killed in
between leaves a claim: a webhook gets the message again, with the same `Idempotency-Key`, so that
it can tell; apprise has no such key, so there a claimed message counts as sent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sweeper.errors import InputError, SweeperError
from sweeper.service.receivers import AllowedHosts, NotReceived, Receiver
from sweeper.store.outbox import FINISHED, Outbox
from sweeper.store.service_records import OutboxMessage

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 3600.0  # before the next try
GIVEN_UP_S = 24 * 3600.0  # after the event
AT_ONCE = 8  # messages, so that a slow receiver holds nobody up


@dataclass(frozen=True, kw_only=True)
class Addressees:
    """Who gets messages.

    Attributes:
        owners: of the server's owner, for all sweeps.
        allowed: for what submitters have named.
        link: the service's address for people; empty for none.
    """

    owners: tuple[Receiver, ...] = ()
    allowed: AllowedHosts = field(default_factory=AllowedHosts)
    link: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the owner's receivers in the outbox."""
        return tuple(one.id for one in self.owners)


class Messenger:
    """Sends what is due; several may work on one outbox.

    Args:
        verdict: the answer of a finished sweep in a line, by its name; may take seconds.
        say: shows the server's owner a sentence.
    """

    def __init__(
        self,
        outbox: Outbox,
        addressees: Addressees,
        *,
        verdict: Callable[[str], str] = lambda name: "",
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._outbox, self._addressees = outbox, addressees
        self._verdict, self._say = verdict, say

    def run(self, stop: threading.Event, *, leads: Callable[[], bool] = lambda: True) -> None:
        """Sends until `stop` is set. Faults of the database pass.

        Args:
            leads: whether to send now: the leader knows the receivers that it has written down.
        """
        while not stop.wait(LOOK_SECONDS):
            if leads():
                self.finish()

    def finish(self) -> None:
        """Tries once to send what is due; what cannot be sent waits for another sender."""
        try:
            self.step()
        except SweeperError as error:
            LOG.warning("messages wait: %s", error)

    def step(self) -> int:
        """Tries to send what is due, and returns how many messages that were."""
        due = self._outbox.due(most=AT_ONCE)
        verdicts: dict[str, str] = {}
        bodies = [self._completed(one, verdicts) for one in due]
        if due:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._try, due, bodies))
        return len(due)

    def _completed(self, one: OutboxMessage, verdicts: dict[str, str]) -> dict[str, Any]:
        """The body with link and verdict; each try sends the same one."""
        body = dict(one.body)
        if self._addressees.link and "link" not in body:
            body["link"] = f"{self._addressees.link}/s/{quote(one.sweep, safe='')}"
        if body["event"] == FINISHED and "verdict" not in body:
            if one.sweep not in verdicts:
                verdicts[one.sweep] = self._verdict(one.sweep)
            body["verdict"] = verdicts[one.sweep]
        return body

    def _try(self, one: OutboxMessage, body: dict[str, Any]) -> None:
        try:
            self._send(one, body)
        except SweeperError as error:  # the claim runs out, and the message is tried again
            LOG.warning("message %s: its outcome is not recorded: %s", one.id, error)

    def _send(self, one: OutboxMessage, body: dict[str, Any]) -> None:
        receiver = self._receiver(one)
        if not self._outbox.claim(one, body=body):
            return  # another one sends it
        if receiver is None:
            self._not_received(one, None, "no such receiver is configured any more")
        elif one.sending and not receiver.webhook:
            said = "its sender ended while it was sent; it is not sent twice"
            self._outbox.received(one, outcome=said)
        else:
            try:
                receiver.send(body, title=title(body), text=text(body))
            except NotReceived as error:
                self._not_received(one, receiver, str(error))
            else:
                self._outbox.received(one)

    def _receiver(self, one: OutboxMessage) -> Receiver | None:
        for receiver in self._addressees.owners:
            if receiver.id == one.receiver:
                return receiver
        for address in self._outbox.addresses(one.sweep):
            if (receiver := Receiver(address)).id == one.receiver:
                try:
                    return self._addressees.allowed.receiver(address)
                except InputError:
                    return None
        return None

    def _not_received(self, one: OutboxMessage, receiver: Receiver | None, why: str) -> None:
        tries = one.tries + 1
        told = f"{receiver or 'a receiver'} has no message about {one.sweep}: {why}"
        age = datetime.now(UTC) - datetime.fromisoformat(one.body["at"])
        if age.total_seconds() >= GIVEN_UP_S:
            self._outbox.received(one, outcome=f"given up after {tries} tries: {why}")
            self._say(f"{told}; given up after {tries} tries")
            return
        wait_s = min(FIRST_WAIT_S * 2 ** (tries - 1), LONGEST_WAIT_S)
        self._outbox.failed(one, outcome=why, wait_s=wait_s)
        if tries == 1:
            self._say(f"{told}; trying again for a day")


def title(body: Mapping[str, Any]) -> str:
    """The first line of a message."""
    return f"{body['sweep']}: {body['event']}"


def text(body: Mapping[str, Any]) -> str:
    """A message as one line, with the link."""
    parts = [title(body), body.get("verdict"), body.get("reason")]
    said = " ".join(f"{str(part).rstrip('.')}." for part in parts if part)
    return f"{said} {body['link']}" if body.get("link") else said

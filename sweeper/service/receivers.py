"""Addresses that get messages: which are allowed, what is shown of them, and one try to send.

A webhook is an https address, or http on this machine. Any other address belongs to a service that
the package apprise knows, and only the server's owner may name one. An address may hold a secret,
so no more than its scheme and host is ever shown.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sweeper import __version__
from sweeper.errors import InputError
from sweeper.store.outbox import digest

SEND_SECONDS = 5.0  # for a try, from the name's look-up to the answer's header
MOST_OWN = 3  # addresses of a submission
LONGEST = 2000  # characters of an address
WEB = ("http", "https")


class NotReceived(Exception):
    """A try failed; the text has no secret."""


@dataclass(frozen=True)
class Receiver:
    """A checked address."""

    address: str = field(repr=False)

    @property
    def id(self) -> str:
        """Its name in the outbox."""
        return digest(self.address)

    @property
    def webhook(self) -> bool:
        """Whether it gets JSON over HTTP; the same message twice has the same key there."""
        return self.address.partition("://")[0].lower() in WEB

    def __str__(self) -> str:
        return masked(self.address)

    def send(self, body: Mapping[str, Any], *, title: str, text: str) -> None:
        """Sends a message; returns once it is received.

        Raises:
            NotReceived: it was not, as far as is known.
        """
        if self.webhook:
            _post(urlsplit(self.address), {**body, "text": text}, key=str(body["id"]))
        else:
            _by_apprise(self.address, title=title, text=text)


def masked(address: str) -> str:
    """What may be shown of an address: its scheme, and the host of a web address."""
    scheme, there, _ = address.partition("://")
    if not there or scheme.lower() not in WEB:
        return f"{scheme}://***" if there else "***"
    with suppress(ValueError):
        host = urlsplit(address).netloc.rpartition("@")[2]
        return f"{scheme}://{host}/***"
    return f"{scheme}://***"


def owners_receiver(address: str, *, option: str = "--notify") -> Receiver:
    """A receiver of the server's owner.

    Raises:
        InputError: it cannot be used, with what can.
    """
    scheme, there, _ = address.partition("://")
    if there and scheme.lower() not in WEB:
        return _apprised(address, option)
    parts = _web(address, option)
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        raise InputError(
            f"{option}: {masked(address)}: the message would cross the network readable; use "
            "https://, or http:// on this machine"
        )
    return Receiver(address)


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts that submitters may name in addresses, as HOST or HOST:PORT; none without any."""

    names: frozenset[str] = frozenset()

    @classmethod
    def read(cls, words: Collection[str], *, option: str = "--notify-host") -> AllowedHosts:
        """Reads the option.

        Raises:
            InputError: a word is not HOST or HOST:PORT.
        """
        for word in words:
            try:
                parts = urlsplit(f"//{word}")
                good = parts.netloc == word and parts.hostname and (parts.port or 443) > 0
            except ValueError:
                good = False
            if not good or "@" in word:
                raise InputError(f"{option}: {word!r}: HOST or HOST:PORT, such as hooks.slack.com")
        return cls(frozenset(word.lower() for word in words))

    def receiver(self, address: str, *, option: str = "notify") -> Receiver:
        """A receiver that a submitter may name: https alone, on an allowed host.

        Raises:
            InputError: it may not be named, with what may.
        """
        parts = _web(address, option)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        known = {f"{parts.hostname}:{port}"} | ({parts.hostname or ""} if port == 443 else set())
        named = known & self.names
        if not named or (parts.scheme == "http" and not _loopback(parts.hostname or "")):
            allowed = ", ".join(sorted(self.names)) or "none"
            raise InputError(
                f"{option}: {masked(address)}: not allowed here; https:// on one of the hosts of "
                f"sweeper serve --notify-host: {allowed}"
            )
        return Receiver(address)

    def receivers(self, addresses: Sequence[str]) -> tuple[Receiver, ...]:
        """The receivers of a submission.

        Raises:
            InputError: one may not be named, or there are too many.
        """
        if len(addresses) > MOST_OWN:
            raise InputError(f"notify: {len(addresses)} addresses: at most {MOST_OWN}")
        return tuple(self.receiver(address) for address in addresses)


def _web(address: str, option: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    plain = address.isascii() and address.isprintable() and " " not in address
    if not (plain and host and parts.scheme in WEB and len(address) <= LONGEST and port != 0):
        raise InputError(
            f"{option}: {masked(address)}: not an address such as https://hooks.example.org/PATH"
        )
    if "@" in parts.netloc:
        raise InputError(f"{option}: {masked(address)}: a user or a password before the host")
    return parts


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# --- a webhook


def _post(parts: SplitResult, body: Mapping[str, Any], *, key: str) -> None:
    """Sends JSON; only an answer 2xx within the time counts, and no redirect is followed."""
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: HTTPConnection = HTTPSConnection(
            host, parts.port, timeout=SEND_SECONDS, context=context
        )
    else:
        connection = HTTPConnection(host, parts.port, timeout=SEND_SECONDS)
    late = threading.Event()

    def end() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(SEND_SECONDS, end)  # a socket's own limit begins anew with each byte
    timer.daemon = True
    timer.start()
    try:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "User-Agent": f"sweeper/{__version__}",
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, json.dumps(body).encode(), headers)
        status = connection.getresponse().status
        if late.is_set():  # a header that was cut off looks like a whole one
            raise TimeoutError
    except (OSError, HTTPException) as error:
        slow = late.is_set() or isinstance(error, TimeoutError)
        said = f"no answer in {SEND_SECONDS:g} s" if slow else _why(error)
        raise NotReceived(said) from None
    finally:
        timer.cancel()
        connection.close()
    if 300 <= status < 400:
        raise NotReceived(f"it answers {status}: redirects are not followed")
    if not 200 <= status < 300:
        raise NotReceived(f"it answers {status}")


def _why(error: Exception) -> str:
    """The kind of a failure, without the address that its text may have."""
    return getattr(error, "strerror", None) or type(error).__name__


# --- apprise


def _apprised(address: str, option: str) -> Receiver:
    if find_spec("apprise") is None:
        raise InputError(
            f"{option}: {masked(address)}: needs another package: pip install 'sweeper[messages]'; "
            "https:// needs none"
        )
    if _made(address) is None:
        raise InputError(
            f"{option}: {masked(address)}: not an address that apprise knows, such as "
            "mailto://USER:PASSWORD@HOST; or use https://"
        )
    return Receiver(address)


def _made(address: str) -> Any:
    from apprise import Apprise

    return Apprise.instantiate(address, suppress_exceptions=True)


def _by_apprise(address: str, *, title: str, text: str) -> None:
    made = _made(address)
    if made is None or not made.notify(body=text, title=title):
        raise NotReceived("apprise could not send it")
